"""Does an artefact compute what PyTorch computes, and does it find the same words?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.evaluation.recognition import recognise
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import score
from velocity.runtime import VelocityASR

UTTERANCES = 16  # taken evenly from the shortest to the longest
SECONDS = (0.2, 0.5, 1.0, 3.3, 10.0, 20.0, 30.0)  # and speech cut or joined to these lengths
DECODED = 200  # test utterances that PyTorch recognises as well, at most

# What an artefact must reach to be what was trained.
ARGMAX_BAR = 0.995  # least share of frames with PyTorch's best class
WER_BAR = 0.003  # greatest distance of its word error rate from PyTorch's, and from that of the FP32 artefact


def parity_speech(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Speech of many lengths to compare on: utterances as they are, and joined to exactly ``SECONDS``."""
    spoken = [utterance.samples() for utterance in utterances[:: max(1, len(utterances) // 64)]]
    by_length = sorted(spoken, key=len)
    chosen = [by_length[i] for i in np.linspace(0, len(by_length) - 1, min(UTTERANCES, len(by_length))).astype(int)]
    joined = np.concatenate(spoken)
    joined = np.tile(joined, 1 + round(max(SECONDS) * SAMPLE_RATE) // len(joined))
    return chosen + [joined[: round(seconds * SAMPLE_RATE)] for seconds in SECONDS]


def compare(
    reference: Callable[[np.ndarray], np.ndarray], artefact: VelocityASR, speech: Iterable[np.ndarray]
) -> dict[str, Any]:
    """Run both on ``speech``, (samples,) at 16 kHz each.

    ``reference`` takes log-mel (1, frames, 80) float32 and gives (1, frames', V) log-posteriors. Returns the worst and
    the mean absolute error of the log-posteriors (three significant digits), and the share of frames whose most
    probable class is the same.
    """
    worst, total, values, same, frames, seconds = 0.0, 0.0, 0, 0, 0, []
    for samples in speech:
        mel = np.asarray(compute_mel_spectrogram(samples))[None]
        expected, got = reference(mel), artefact(mel)
        if expected.shape != got.shape:
            raise ValueError(f"{artefact.folder}: gives {got.shape} where PyTorch gives {expected.shape}")
        error = np.abs(expected.astype(np.float64) - got)
        worst, total, values = max(worst, float(error.max())), total + float(error.sum()), values + error.size
        same += int((expected.argmax(-1) == got.argmax(-1)).sum())
        frames += expected.shape[1]
        seconds.append(len(samples) / SAMPLE_RATE)
    return {
        "max_abs_error": float(f"{worst:.3g}"),
        "mean_abs_error": float(f"{total / values:.3g}"),
        "argmax_agreement": round(same / frames, 6),
        "frames": frames,
        "inputs": len(seconds),
        "seconds": [round(min(seconds), 2), round(max(seconds), 2)],
    }


class Reference(VelocityASR):
    """An artefact's recogniser in which PyTorch computes the posteriors; chunks, decoding and tokens stay the same."""

    def __init__(self, artefact: VelocityASR, module: Any) -> None:
        vars(self).update(vars(artefact))
        self._posteriors = torch_reference(module)

    def __call__(self, mel: Any) -> np.ndarray:
        return self._posteriors(np.asarray(mel, dtype=np.float32)[None])


def decoding_parity(
    reference: Reference, utterances: Sequence[Utterance], hypotheses: Sequence[str], title: str
) -> dict[str, Any]:
    """What PyTorch's words cost beside the artefact's ``hypotheses``, over at most DECODED of the utterances.

    Rates are fractions; ``wer_difference`` is the artefact's rate less PyTorch's.
    """
    chosen = np.linspace(0, len(utterances) - 1, min(DECODED, len(utterances))).round().astype(int)
    some = [utterances[index] for index in chosen]
    spoken = [utterance.text for utterance in some]
    found = recognise(reference, some, title).hypotheses
    pytorch, artefact = score(spoken, found), score(spoken, [hypotheses[index] for index in chosen])
    return {
        "pytorch_wer": round(pytorch.wer, 6),
        "wer_difference": round(artefact.wer - pytorch.wer, 6),
        "decoded": len(some),
    }


def verdict(figures: dict[str, Any]) -> dict[str, Any]:
    """{"passed": whether every figure reaches its bar, "failed": those that do not, as sentences}."""
    failed = []
    if figures["argmax_agreement"] < ARGMAX_BAR:
        least = f"{100 * ARGMAX_BAR:g} % at least"
        failed.append(f"PyTorch's best class in {100 * figures['argmax_agreement']:.2f} % of the frames ({least})")
    for key, other in (("wer_difference", "PyTorch"), ("wer_difference_from_float", "the FP32 artefact")):
        if abs(figures.get(key, 0.0)) > WER_BAR:
            points = f"WER {100 * figures[key]:+.2f} points from {other}"
            failed.append(f"{points} ({100 * WER_BAR:g} at most)")
    return {"passed": not failed, "failed": failed}


def torch_reference(module: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A recogniser in PyTorch as the ``reference`` of ``compare``."""
    import torch

    module.eval()

    def log_probs(mel: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(mel))[0].numpy()

    return log_probs
