"""Activation ranges of the INT8 model: as trained, or chosen from representative utterances."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from velocity.errors import VelocityError
from velocity.model.asr import BLANK, VelocityModel, read_weights
from velocity.quantization.histogram import Histogram, Range
from velocity.quantization.linear import QuantizedLinear, floating_point, quantize_linears, quantized_layers, set_mode
from velocity.recognition.decoding.greedy import greedy

Ranges = dict[str, Range]  # layer → lowest and highest input


def load_quantizable(path: str | Path) -> tuple[VelocityModel, bool]:
    """The model of ``path`` with quantisable layers, in floating-point mode, and whether it was trained so."""
    config, state = read_weights(path)
    trained = any(name.endswith(".range") for name in state)
    learned = any(name.endswith(".stretch") for name in state)
    model = quantize_linears(VelocityModel(config), learned).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    strange = unexpected + [name for name in missing if trained or not name.endswith(".range")]
    if strange:
        raise VelocityError(f"{path}: its tensors do not fit its configuration: {strange[0]}")
    return model, trained


def load_quantized(path: str | Path, calibration: str | Path) -> VelocityModel:
    """The INT8 model in PyTorch: fake-quantised with the ranges of a calibration file, in evaluation mode."""
    model, _ = load_quantizable(path)
    try:
        ranges = json.loads(Path(calibration).read_text())["layers"]
    except (OSError, ValueError, KeyError) as error:
        raise VelocityError(f"{calibration}: not a calibration file; run the stage calibrate") from error
    if ranges.keys() != quantized_layers(model).keys():
        raise VelocityError(f"{calibration}: made for another model than {path}; run the stage calibrate again")
    set_ranges(model, {name: (layer["low"], layer["high"]) for name, layer in ranges.items()})
    set_mode(model, "fake")
    return model


def set_ranges(model: VelocityModel, ranges: Ranges) -> None:
    for name, layer in quantized_layers(model).items():
        layer.set_activation_range(*ranges[name])


def describe_layers(model: VelocityModel, seen: Mapping[str, Histogram]) -> dict[str, dict[str, Any]]:
    """The part of a calibration file that ``load_quantized`` and the exporters read: layer → range and grid."""
    layers = {}
    for name, layer in quantized_layers(model).items():
        low, high = layer.activation_range()
        scale, zero = layer.activation_grid()
        layers[name] = {
            "low": low,
            "high": high,
            "scale": scale.item(),
            "zero_point": zero.item(),
            "seen": [seen[name].low, seen[name].high],
            "outside_percent": round(100 * seen[name].outside(low, high), 4),
        }
    return layers


def observe(
    model: VelocityModel, features: Iterable[Tensor], progress: Callable[[], None] = lambda: None
) -> dict[str, Histogram]:
    """Run ``model`` in floating point over utterances, each (1, frames, 80); layer → all of its inputs."""
    seen = {name: Histogram() for name in quantized_layers(model)}

    def keep(histogram: Histogram) -> Callable[[QuantizedLinear, tuple[Tensor, ...]], None]:
        return lambda layer, inputs: histogram.add(inputs[0])

    hooks = [layer.register_forward_pre_hook(keep(seen[name])) for name, layer in quantized_layers(model).items()]
    try:
        with floating_point(model):
            for mel in features:
                model(mel)
                progress()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def choose_ranges(seen: Mapping[str, Histogram], percentile: float) -> dict[str, Ranges]:
    """Method → ranges, from the inputs that each layer has ``seen``."""
    return {
        "minmax": {name: (histogram.low, histogram.high) for name, histogram in seen.items()},
        "percentile": {name: histogram.percentile(percentile) for name, histogram in seen.items()},
        "entropy": {name: histogram.entropy() for name, histogram in seen.items()},
    }


def trained_ranges(model: VelocityModel) -> Ranges:
    """The ranges of the weights file."""
    return {name: layer.activation_range() for name, layer in quantized_layers(model).items()}


@dataclass
class Agreement:
    """How far a rounded model is from floating point over the utterances added, and its hypotheses."""

    signal: float = 0.0
    noise: float = 0.0
    equal: int = 0
    frames: int = 0
    tokens: list[list[int]] = field(default_factory=list)

    def add(self, exact: Tensor, rounded: Tensor) -> None:
        """Log-posteriors of one utterance: (1, frames, V) each."""
        self.signal += float((exact**2).sum())
        self.noise += float(((exact - rounded) ** 2).sum())
        self.equal += int((exact.argmax(-1) == rounded.argmax(-1)).sum())
        self.frames += exact.size(1)
        self.tokens.append(greedy(rounded[0].numpy(), BLANK))

    def figures(self) -> dict[str, float]:
        """SNR of the log-posteriors in dB, per cent of the frames with the same best class."""
        snr = 10 * float(np.log10(self.signal / max(self.noise, 1e-30)))
        return {"snr_db": snr, "same_best_class_percent": 100 * self.equal / self.frames}


@torch.no_grad()
def compare(
    model: VelocityModel,
    methods: Mapping[str, Ranges],
    features: Iterable[Tensor],
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[list[int]], dict[str, Agreement]]:
    """The INT8 model of each method against floating point, over utterances (1, frames, 80).

    Returns the tokens of the floating-point model for each utterance, and method → agreement. Leaves ``model`` with the
    ranges of the last method.
    """
    exactly, found = [], {method: Agreement() for method in methods}
    for mel in features:
        with floating_point(model):
            exact, _ = model(mel)
        exactly.append(greedy(exact[0].numpy(), BLANK))
        set_mode(model.eval(), "fake")
        for method, ranges in methods.items():
            set_ranges(model, ranges)
            found[method].add(exact, model(mel)[0])
        progress()
    return exactly, found
