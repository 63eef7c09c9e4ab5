"""INT8 linear layers: the integers they will compute with, in training already, and the integers that are exported.

Weights are symmetric per output channel in [-63, 63], activations affine per tensor in [-128, 127] (ONNX
QuantizeLinear, opset 18). Processors without VNNI multiply by ``vpmaddubsw``, which adds two products of an unsigned
and a signed byte in 16 bits and saturates. With weights within ±63 no pair can: 2 · 255 · 63 = 32,130 < 32,767. So an
artefact computes the same integers on every processor, for one bit of the weights.

Every ``nn.Linear`` of a model is quantised; convolutions, norms and the scan with its state
stay in 32 bits: they hold 4 % of the weights and most of the sensitivity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_LOW, ACTIVATION_HIGH, WEIGHT_HIGH = -128, 127, 63
STEPS = ACTIVATION_HIGH - ACTIVATION_LOW
SMALLEST = 1e-8  # of a scale
RANGE_DECAY = 0.99  # of the moving average of activation ranges
REMEMBERED_STEPS = 500  # what came before weighs less than 1 % in it


class QuantizedLinear(nn.Linear):
    """A linear layer that computes as its INT8 export will. ``mode`` is one of

    - ``float``: floating point, and nothing else;
    - ``observe``: floating point, while the moving average of the input's range is followed;
    - ``fake``: the product of the integers, with straight-through gradients. The range goes on moving in training
      mode; a ``learned`` one is fixed and stretched by the gradient instead, as LSQ does (Esser et al., "Learned step
      size quantization", ICLR 2020).

    In a training of several processes the range is that of the first one's batches, whose buffers the others receive
    before each step: to agree on it in every layer of every step would make them wait for each other.

    ``stretch`` is the logarithm of what either end is multiplied by: 0 until the switch to ``fake``, so that learning
    starts from the moving average. Both ends keep their sign, and a step of the optimiser means the same to ranges of
    any size (Jain et al., "Trained quantization thresholds", MLSys 2020).
    """

    def __init__(self, linear: nn.Linear, learned: bool = False) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("range", torch.zeros(2))  # lowest and highest input, always containing 0
        self.register_parameter("stretch", nn.Parameter(torch.zeros(2)) if learned else None)
        self.mode = "observe"

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if self.training and (self.mode == "observe" or (self.mode == "fake" and self.stretch is None)):
            self._observe(x)
        if self.mode != "fake":
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):  # rounding to a grid of 256 needs more than bf16's 8 bits
            low, high = self._range(x.numel())
            scale = _scale(low, high)
            lowest = round_through(low / scale)
            integers = torch.clamp(round_through(x.float() / scale), lowest, lowest + STEPS)
            unit = weight_scale(self.weight)
            weight = round_through(self.weight / unit.unsqueeze(1))
        # Integers up to 256 are exact in bf16, and their sums are in float32 up to 2^24: 518 inputs at full scale.
        product = F.linear(integers, weight)
        exact = product * (scale * unit)
        return (exact if self.bias is None else exact + self.bias).to(product.dtype)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        low, high = torch.aminmax(x.detach())
        seen = torch.stack([low.clamp(max=0.0), high.clamp(min=0.0)]).float()
        self.range.lerp_(seen, 1.0 - RANGE_DECAY * self.range.any())  # the first time: all the way

    def _range(self, inputs: int = 0) -> tuple[Tensor, Tensor]:
        """Lowest and highest input, scalars. With ``inputs``, the gradient of the stretch is scaled as in LSQ.

        It is a sum over as many values as there are inputs: unscaled it would be all that the clipped norm sees.
        """
        if self.stretch is None:
            return self.range[0], self.range[1]
        stretch = self.stretch if not inputs else scale_gradient(self.stretch, (inputs * STEPS) ** -0.5)
        low, high = self.range * stretch.exp()
        return low, high

    @torch.no_grad()
    def activation_range(self) -> tuple[float, float]:
        low, high = self._range()
        return low.item(), high.item()

    @torch.no_grad()
    def set_activation_range(self, low: float, high: float) -> None:
        """From now on this one: low ≤ 0 ≤ high."""
        self.range.copy_(torch.tensor([low, high]))
        if self.stretch is not None:
            self.stretch.zero_()

    @torch.no_grad()
    def activation_grid(self) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32) of the input, both scalars."""
        low, high = self._range()
        scale = _scale(low, high)
        zero = ACTIVATION_LOW - torch.round(low / scale)
        return scale, zero.clamp(ACTIVATION_LOW, ACTIVATION_HIGH).to(torch.int32)

    @torch.no_grad()
    def integer_weight(self) -> tuple[Tensor, Tensor]:
        """The weight as the artefact holds it: (out, in) int8 and a scale for each output channel (out,) float32."""
        scale = weight_scale(self.weight)
        return torch.round(self.weight / scale.unsqueeze(1)).to(torch.int8), scale


class _Round(torch.autograd.Function):
    """To the nearest integer, ties to even; the gradient passes as if nothing were rounded (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


round_through = _Round.apply


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    return x.detach() + factor * (x - x.detach())


def _scale(low: Tensor, high: Tensor) -> Tensor:
    return ((high - low) / STEPS).clamp(min=SMALLEST)


def weight_scale(weight: Tensor) -> Tensor:
    """Symmetric scale of each output channel: (out, in) → (out,) float32, > 0."""
    return (weight.detach().abs().amax(1) / WEIGHT_HIGH).clamp(min=SMALLEST)


def quantize_linears(model: nn.Module, learned: bool = False) -> nn.Module:
    """Replace, in place, every linear layer by one that can be quantised; weights and their names stay the same.

    ``learned`` activation ranges add a parameter ``stretch`` to each, from the start of the training.
    """
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, QuantizedLinear(child, learned))
        else:
            quantize_linears(child, learned)
    return model


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLinear]:
    """Name → layer, in the model's order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, QuantizedLinear)}


def training_mode(step: int, quantised_from: int) -> str:
    """The mode of a training's step: ranges are followed for as long as their average remembers."""
    if step >= quantised_from:
        return "fake"
    return "observe" if step >= quantised_from - REMEMBERED_STEPS else "float"


def set_mode(model: nn.Module, mode: str) -> None:
    for layer in quantized_layers(model).values():
        layer.mode = mode


@contextmanager
def floating_point(model: nn.Module) -> Iterator[None]:
    """Within it, ``model`` is its own FP32 twin: the same weights, nothing rounded, nothing dropped, no gradient."""
    modes, training = {layer: layer.mode for layer in quantized_layers(model).values()}, model.training
    try:
        set_mode(model.eval(), "float")
        with torch.no_grad():
            yield
    finally:
        for layer, mode in modes.items():
            layer.mode = mode
        model.train(training)
