"""INT8 linear layers: fake quantisation in training, and the integers that are exported.

Weights are symmetric per output channel in [-127, 127], activations affine per tensor in [-128, 127] (ONNX
QuantizeLinear, opset 18). Every ``nn.Linear`` of a model is quantised; convolutions, norms and the scan with its state
stay in 32 bits: they hold 4 % of the weights and most of the sensitivity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATION_LOW, ACTIVATION_HIGH, WEIGHT_HIGH = -128, 127, 127
RANGE_DECAY = 0.99  # of the moving average of activation ranges


class QuantizedLinear(nn.Linear):
    """A linear layer that computes as its INT8 export will. ``mode`` is one of

    - ``observe``: floating point, while the moving average of the input's range is learned;
    - ``fake``: fake quantisation with straight-through gradients; the range goes on moving in training mode.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("range", torch.zeros(2))  # lowest and highest input, always containing 0
        self.mode = "observe"

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if self.training:
            self._observe(x)
        if self.mode == "observe":
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):  # rounding to a grid of 256 needs more than bf16's 8 bits
            x = torch.fake_quantize_per_tensor_affine(
                x.float(), *self.activation_grid(), ACTIVATION_LOW, ACTIVATION_HIGH
            )
            scale = weight_scale(self.weight)
            zeros = torch.zeros_like(scale, dtype=torch.int32)
            weight = torch.fake_quantize_per_channel_affine(self.weight, scale, zeros, 0, -WEIGHT_HIGH, WEIGHT_HIGH)
        return F.linear(x, weight, self.bias)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        low, high = torch.aminmax(x.detach())
        seen = torch.stack([low, high]).float()
        seen = torch.stack([seen[0].clamp(max=0.0), seen[1].clamp(min=0.0)])
        decay = RANGE_DECAY if self.range.any() else 0.0
        self.range.lerp_(seen, 1.0 - decay)

    def activation_grid(self) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32) of the input, both scalars, from ``range``."""
        scale = ((self.range[1] - self.range[0]) / (ACTIVATION_HIGH - ACTIVATION_LOW)).clamp(min=1e-8)
        zero = ACTIVATION_LOW - torch.round(self.range[0] / scale)
        return scale, zero.clamp(ACTIVATION_LOW, ACTIVATION_HIGH).to(torch.int32)

    def integer_weight(self) -> tuple[Tensor, Tensor]:
        """The weight as the artefact holds it: (out, in) int8 and a scale for each output channel (out,) float32."""
        scale = weight_scale(self.weight)
        integers = torch.round(self.weight.detach() / scale.unsqueeze(1)).clamp(-WEIGHT_HIGH, WEIGHT_HIGH)
        return integers.to(torch.int8), scale


def weight_scale(weight: Tensor) -> Tensor:
    """Symmetric scale of each output channel: (out, in) → (out,) float32, > 0."""
    return (weight.detach().abs().amax(1) / WEIGHT_HIGH).clamp(min=1e-8)


def quantize_linears(model: nn.Module) -> nn.Module:
    """Replace, in place, every linear layer by one that can be quantised; parameters and their names stay the same."""
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, QuantizedLinear(child))
        else:
            quantize_linears(child)
    return model


def quantized_layers(model: nn.Module) -> dict[str, QuantizedLinear]:
    """Name → layer, in the model's order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, QuantizedLinear)}


def set_mode(model: nn.Module, mode: str) -> None:
    for layer in quantized_layers(model).values():
        layer.mode = mode
