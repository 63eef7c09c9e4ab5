"""Does an artefact compute what PyTorch computes?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.evaluation.testset import Utterance
from velocity.runtime import VelocityASR

UTTERANCES = 16  # taken evenly from the shortest to the longest
SECONDS = (0.2, 0.5, 1.0, 3.3, 10.0, 20.0, 30.0)  # and speech cut or joined to these lengths


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


def torch_reference(module: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A recogniser in PyTorch as the ``reference`` of ``compare``."""
    import torch

    module.eval()

    def log_probs(mel: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(mel))[0].numpy()

    return log_probs
