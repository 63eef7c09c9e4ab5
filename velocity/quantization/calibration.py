"""Scales and zero points of the INT8 model: as training left them, or measured on representative utterances."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor

from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel, read_weights
from velocity.quantization.linear import QuantizedLinear, quantize_linears, quantized_layers, set_mode

SAMPLES = 2048  # activations kept an utterance and layer


def representative(cuts: Iterable[MonoCut], count: int) -> list[MonoCut]:
    """``count`` utterances spread evenly over the lengths."""
    ordered = sorted(cuts, key=lambda cut: (cut.duration, cut.supervisions[0].speaker, cut.id))
    if len(ordered) <= count:
        return ordered
    return [ordered[index] for index in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def load_quantizable(path: str | Path) -> tuple[VelocityModel, bool]:
    """The model of ``path`` with quantisable layers, in floating-point mode, and whether it was trained so."""
    config, state = read_weights(path)
    model = quantize_linears(VelocityModel(config)).eval()
    trained = any(name.endswith(".range") for name in state)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or (trained and missing) or any(not name.endswith(".range") for name in missing):
        raise VelocityError(f"{path}: its tensors do not fit its configuration: {(missing + unexpected)[0]}")
    return model, trained


def load_quantized(path: str | Path, calibration: str | Path) -> VelocityModel:
    """The INT8 model in PyTorch: fake-quantised with the ranges of a calibration file, in evaluation mode."""
    model, _ = load_quantizable(path)
    try:
        ranges = json.loads(Path(calibration).read_text())["layers"]
    except (OSError, ValueError, KeyError) as error:
        raise VelocityError(f"{calibration}: not a calibration file; run the stage calibrate") from error
    layers = quantized_layers(model)
    if ranges.keys() != layers.keys():
        raise VelocityError(f"{calibration}: made for another model than {path}; run the stage calibrate again")
    for name, layer in layers.items():
        layer.range.copy_(torch.tensor([ranges[name]["low"], ranges[name]["high"]]))
    set_mode(model, "fake")
    return model


@torch.no_grad()
def observe(
    model: VelocityModel, features: Iterable[Tensor], seed: int, progress: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Any]]:
    """Run floating-point ``model`` over utterances, each (1, frames, 80), and collect what its linear layers are given.

    Returns per layer {"low", "high": extremes, "samples": (k,) drawn activations, "outside": per cent beyond the
    layer's current range}.
    """
    random = np.random.default_rng(seed)
    seen = {name: {"low": 0.0, "high": 0.0, "samples": []} for name in quantized_layers(model)}

    def keep(name: str) -> Callable[..., None]:
        def hook(layer: QuantizedLinear, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].flatten().numpy()
            record = seen[name]
            record["low"] = min(record["low"], float(values.min()))
            record["high"] = max(record["high"], float(values.max()))
            record["samples"].append(values[random.integers(0, len(values), SAMPLES)])

        return hook

    hooks = [layer.register_forward_pre_hook(keep(name)) for name, layer in quantized_layers(model).items()]
    try:
        for mel in features:
            model(mel)
            progress()
    finally:
        for hook in hooks:
            hook.remove()
    for name, layer in quantized_layers(model).items():
        samples = seen[name]["samples"] = np.concatenate(seen[name]["samples"])
        low, high = layer.range.tolist()
        seen[name]["outside"] = 100 * float(np.mean((samples < low) | (samples > high)))
    return seen


def choose_ranges(
    model: VelocityModel, seen: dict[str, dict[str, Any]], method: str, percentile: float
) -> dict[str, tuple[float, float]]:
    """Layer → (low, high) by ``trained`` (as the weights file has them), ``minmax`` or ``percentile`` of ``seen``."""
    if method == "trained":
        return {name: tuple(layer.range.tolist()) for name, layer in quantized_layers(model).items()}
    if method == "minmax":
        return {name: (record["low"], record["high"]) for name, record in seen.items()}
    ranges = {}
    for name, record in seen.items():
        low, high = np.percentile(record["samples"], [100 - percentile, percentile])
        ranges[name] = (min(0.0, float(low)), max(0.0, float(high)))
    return ranges


@torch.no_grad()
def agreement(model: VelocityModel, features: Sequence[Tensor]) -> dict[str, float]:
    """How far the INT8 model is from its own floating point: SNR of log posteriors in dB, per cent equal best class."""
    signal = noise = equal = frames = 0.0
    for mel in features:
        set_mode(model, "observe")
        exact, _ = model(mel)
        set_mode(model, "fake")
        rounded, _ = model(mel)
        signal += float((exact**2).sum())
        noise += float(((exact - rounded) ** 2).sum())
        equal += float((exact.argmax(-1) == rounded.argmax(-1)).sum())
        frames += exact.size(1)
    return {"snr_db": 10 * float(np.log10(signal / max(noise, 1e-30))), "same_best_class_percent": 100 * equal / frames}
