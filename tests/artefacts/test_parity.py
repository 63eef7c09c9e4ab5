"""The bars that an artefact must reach."""

import json

import numpy as np
import pytest

from velocity.artefacts.target import FLOAT, HALF, INT8, Bars
from velocity.audio import compute_mel_spectrogram
from velocity.evaluation.parity import compare, own_agreement, same_file, verdict

GOOD = {
    "argmax_agreement": 1.0,
    "max_abs_error": 0.0,
    "wer_difference": 0.003,
    "wer_difference_from_float": -0.1,
}  # fewer errors are no fault


@pytest.mark.parametrize(
    ("bars", "figures", "failed"),
    [
        (INT8, {"argmax_agreement": 0.995, "max_abs_error": 7.0}, []),
        (INT8, {"argmax_agreement": 0.9949}, ["99.49 %"]),
        (INT8, {"argmax_agreement": 0.9949, "own_agreement": 0.9999}, ["99.49 %"]),
        (INT8, {"argmax_agreement": 0.99, "own_agreement": 0.9}, ["99.5 % at least"]),
        (FLOAT, {"argmax_agreement": 0.999, "max_abs_error": 1e-3}, []),
        (FLOAT, {"argmax_agreement": 0.9989, "max_abs_error": 1.1e-3}, ["off by 0.0011 (0.001 at most)", "99.89 %"]),
        (HALF, {"max_abs_error": 1.1}, ["off by 1.1 (1 at most)"]),
        (INT8, {"wer_difference": 0.0031}, ["+0.31 points from PyTorch"]),
        (INT8, {"wer_difference_from_float": 0.004}, ["from the FP32"]),
        (INT8, {"phones": {"argmax_agreement": 0.995, "max_abs_error": 7.0}}, []),
        (HALF, {"phones": {"argmax_agreement": 0.9949, "max_abs_error": 1.1}}, ["phones: log-", "phones: PyTorch's"]),
        (INT8, {"argmax_agreement": 0.9, "wer_difference": 0.1, "wer_difference_from_float": 1}, ["90", "10.", "100."]),
    ],
)
def test_bars_of_parity(bars: Bars, figures, failed):
    result = verdict(GOOD | figures, bars)
    assert result["passed"] == (not failed)
    assert len(result["failed"]) == len(failed)
    for sentence, part in zip(result["failed"], failed, strict=True):
        assert part in sentence


def test_a_model_whose_frames_lie_on_an_edge_does_not_agree_with_itself():
    """A change by a millionth moves half of the frames on the edge of a step to another class, and no others."""
    spoken = [np.random.default_rng(1).standard_normal(32_000).astype(np.float32)]
    mel = compute_mel_spectrogram(spoken[0])
    edge = mel[:, 0].copy()
    edge[::2] += 1.0  # every second frame is far from it

    def rounding(features):
        above = features[0, :, 0] > edge
        return np.stack([above, ~above], -1)[None].astype(np.float32)

    assert 0.7 < own_agreement(rounding, rounding, spoken) < 0.8
    smooth = lambda features: features[..., :2]  # noqa: E731
    assert own_agreement(smooth, smooth, spoken) > 0.99


def test_what_is_not_a_number_is_an_error_of_its_own():
    right = np.zeros((1, 5, 3), np.float32)
    broken = np.where(np.arange(3) == 2, np.nan, right).astype(np.float32)
    figures = compare(lambda mel: right, lambda mel: broken, [np.zeros(1600, np.float32)])
    assert not verdict(figures | {"wer_difference": 0.0}, HALF)["passed"]
    json.loads(json.dumps(figures, allow_nan=False))


def test_a_bundle_of_another_model_fails(tmp_path):
    for name in ("onnx-int8", "web"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(b"the same")
    figures = {"max_abs_error": 0.1, "passed": True, "failed": []}
    folders = tmp_path / "web", tmp_path / "onnx-int8"
    assert same_file("model.onnx", *folders, figures) == figures | {"same_as": "onnx-int8"}
    (tmp_path / "web/model.onnx").write_bytes(b"another!")
    assert same_file("model.onnx", *folders, figures)["failed"] == ["its model.onnx is not that of onnx-int8"]
    assert not same_file("model.onnx", *folders, figures)["passed"]
