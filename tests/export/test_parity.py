"""The bars that an artefact must reach."""

import pytest

from velocity.evaluation.parity import verdict


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        ({"argmax_agreement": 0.995, "wer_difference": 0.003, "wer_difference_from_float": -0.003}, []),
        ({"argmax_agreement": 0.9949, "wer_difference": 0.0}, ["99.49 %"]),
        ({"argmax_agreement": 1.0, "wer_difference": -0.0031}, ["-0.31 points from PyTorch"]),
        ({"argmax_agreement": 1.0, "wer_difference": 0.0, "wer_difference_from_float": 0.004}, ["from the FP32"]),
        ({"argmax_agreement": 0.9, "wer_difference": 0.1, "wer_difference_from_float": 0.1}, ["90.00", "10.00", "10."]),
    ],
)
def test_bars_of_parity(figures, failed):
    told = verdict(figures)
    assert told["passed"] == (not failed)
    assert len(told["failed"]) == len(failed)
    for sentence, part in zip(told["failed"], failed, strict=True):
        assert part in sentence
