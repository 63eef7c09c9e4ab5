"""Does an artefact compute what PyTorch computes, and does it find the same words?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import score
from velocity.recognition.offline import VelocityASR

if TYPE_CHECKING:
    from velocity.artefacts.target import Bars, Posteriors, Reference

UTTERANCES = 16  # taken evenly from the shortest to the longest
SECONDS = (0.2, 0.5, 1.0, 3.3, 10.0, 20.0, 30.0, 60.0)  # and speech cut or joined to these lengths
DECODED = 200  # test utterances that PyTorch recognises as well, at most

CHANGE = 1e-6  # of the features, relative: as much as sums in another order differ

BROKEN = 1e9  # the error of what is not a number
WER_BAR = 0.003  # by which its word error rate may be above PyTorch's, and above that of the FP32 artefact


class Recogniser(VelocityASR):
    """The recogniser ``like`` with other ``posteriors`` of letters; chunks, decoding and tokens stay the same."""

    def __init__(self, like: VelocityASR, posteriors: Posteriors) -> None:
        vars(self).update(vars(like))
        self._posteriors, self._phones = posteriors, None

    def __call__(self, mel: Any, phones: bool = False) -> np.ndarray:
        mel = np.asarray(mel, dtype=np.float32)
        return self._posteriors(mel[None] if mel.ndim == 2 else mel)


def parity_speech(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Speech of many lengths to compare on: utterances as they are, and joined to exactly ``SECONDS``."""
    spoken = [utterance.samples() for utterance in utterances[:: max(1, len(utterances) // 64)]]
    by_length = sorted(spoken, key=len)
    chosen = [by_length[i] for i in np.linspace(0, len(by_length) - 1, min(UTTERANCES, len(by_length))).astype(int)]
    joined = np.concatenate(spoken)
    joined = np.tile(joined, 1 + round(max(SECONDS) * SAMPLE_RATE) // len(joined))
    return chosen + [joined[: round(seconds * SAMPLE_RATE)] for seconds in SECONDS]


def compare(reference: Posteriors, artefact: Posteriors, speech: Iterable[np.ndarray]) -> dict[str, Any]:
    """Run both on ``speech``, (samples,) at 16 kHz each.

    Returns the worst and the mean absolute error of the log-posteriors (three significant digits), and the share of
    frames whose most probable class is the same.
    """
    worst, total, values, same, frames, seconds = 0.0, 0.0, 0, 0, 0, []
    for samples in speech:
        mel = np.asarray(compute_mel_spectrogram(samples))[None]
        expected, got = reference(mel), artefact(mel)
        if expected.shape != got.shape:
            raise ValueError(f"the artefact gives {got.shape} where PyTorch gives {expected.shape}")
        error = np.nan_to_num(np.abs(expected.astype(np.float64) - got), nan=BROKEN, posinf=BROKEN)
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


def own_agreement(reference: Posteriors, again: Posteriors, speech: Iterable[np.ndarray]) -> float:
    """The share of frames whose best class stays when the features change by ``CHANGE``; both are the same model.

    Activations that are rounded to 8 bits turn such a change into whole steps here and there, and later layers spread
    them. Of a model that is unsure, this says how much of an artefact's disagreement is its own; it moves no bar.
    """
    seed = np.random.default_rng(0)

    def changed(mel: np.ndarray) -> np.ndarray:
        return again((mel * (1 + CHANGE * seed.standard_normal(mel.shape))).astype(np.float32))

    return compare(reference, changed, speech)["argmax_agreement"]


def decoded(utterances: int) -> np.ndarray:
    """The indices of the test utterances that PyTorch recognises as well, evenly over all."""
    return np.linspace(0, utterances - 1, min(DECODED, utterances)).round().astype(int)


def decoding_parity(spoken: Sequence[str], pytorch: Sequence[str], artefact: Sequence[str]) -> dict[str, Any]:
    """PyTorch's word error rate and the artefact's minus it, as fractions."""
    expected, got = score(spoken, pytorch), score(spoken, artefact)
    return {
        "pytorch_wer": round(expected.wer, 6),
        "wer_difference": round(got.wer - expected.wer, 6),
        "decoded": len(spoken),
    }


def verdict(figures: dict[str, Any], bars: Bars) -> dict[str, Any]:
    """{"passed": whether every figure reaches its bar, "failed": those that do not, as sentences}.

    ``figures["phones"]``, of a model that gives them, has the same bars as the letters.
    """
    failed = []
    for head, found in (("", figures), ("phones: ", figures.get("phones"))):
        if found is None:
            continue
        if not found["max_abs_error"] <= bars.max_abs_error:
            failed.append(f"{head}log-posteriors off by {found['max_abs_error']:g} ({bars.max_abs_error:g} at most)")
        if found["argmax_agreement"] < bars.argmax:
            least = f"{100 * bars.argmax:g} % at least"
            best = f"{head}PyTorch's best class in {100 * found['argmax_agreement']:.2f} % of the frames"
            failed.append(f"{best} ({least})")
    for key, other in (("wer_difference", "PyTorch"), ("wer_difference_from_float", "the FP32 artefact")):
        if figures.get(key, 0.0) > WER_BAR:
            points = f"WER {100 * figures[key]:+.2f} points from {other}"
            failed.append(f"{points} ({100 * WER_BAR:g} at most)")
    return {"passed": not failed, "failed": failed}


def same_file(name: str, artefact: Path, other: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """The parity of an artefact that must hold the file ``name`` of ``other``, which has these ``figures``."""
    if (artefact / name).read_bytes() == (other / name).read_bytes():
        return figures | {"same_as": other.name}
    return figures | {"passed": False, "failed": [f"its {name} is not that of {other.name}"]}


def load_reference(reference: Reference, weights: Path, calibration: Path) -> Any:
    """The trained model in PyTorch, in evaluation mode, in the form that an artefact is to compute."""
    import torch

    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized
    from velocity.quantization.linear import quantized_layers, set_mode
    from velocity.quantization.low_bits import load_low_bits

    if reference == "float":
        return load_model(weights)
    if reference in ("int4", "int2"):
        return load_low_bits(weights, int(reference[-1]))
    model = load_quantized(weights, calibration)
    if reference == "int8-weights":
        set_mode(model, "observe")
        with torch.no_grad():
            for layer in quantized_layers(model).values():
                integers, scale = layer.integer_weight()
                layer.weight.copy_(integers * scale.unsqueeze(1))
    return model


def torch_reference(module: Any, phones: bool = False) -> Posteriors:
    """A model in PyTorch as the reference of artefacts; ``phones``: its posteriors of phones instead of letters."""
    import torch

    module.eval()

    def log_probs(mel: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module.outputs(torch.from_numpy(mel))[2 if phones else 0].numpy()

    return log_probs


def remember(posteriors: Posteriors) -> Posteriors:
    """``posteriors`` that computes each input once: several artefacts are compared with the same reference."""
    results: dict[bytes, np.ndarray] = {}

    def log_probs(mel: np.ndarray) -> np.ndarray:
        if (key := mel.tobytes()) not in results:
            results[key] = posteriors(mel)
        return results[key]

    return log_probs
