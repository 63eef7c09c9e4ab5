"""Weights of 4 or 2 bits: what a linear layer's rows may hold, in training and in the artefact.

A row of a weight has a step of its own and 16 or 4 levels around zero, in multiples of it: -8 … 7, or -1.5, -0.5, 0.5,
1.5, since of so few none is spent on zero (Liu et al., "ParetoQ: scaling laws in extremely low-bit LLM quantization",
2025). These are the values of onnxruntime's ``MatMulNBits`` with a zero point of 8, or of 1.5. Inputs stay in floating
point. A step is a 16-bit float, as the artefact holds it, so that its products with the levels are exact in 32 bits.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.model.asr import VelocityModel, load_model
from velocity.quantization.linear import QuantizedLinear, quantized_layers, round_through, scale_gradient

ZERO_POINT = {4: 8.0, 2: 1.5}  # bits → the code that would stand for 0; codes are 0 … 2^bits - 1
# Steps with the least squared error for normally distributed weights, in standard deviations (Max, "Quantizing for
# minimum distortion", 1960).
NORMAL_STEP = {4: 0.3352, 2: 0.9957}
SMALLEST_STEP = 1e-6  # a 16-bit float has no less than 6e-8
BLOCK = 64  # values that share a step in 8 bits, in all tensors but the linear layers' weights
PACKED_FROM = 128  # values of a tensor; smaller ones stay in 32 bits
SEARCHED = 60  # steps tried for weights that were not trained on the levels of any


class LowBitLinear(QuantizedLinear):
    """A linear layer that learns weights of ``bits`` bits. In the mode ``fake`` it computes with the rounded ones.

    The gradient passes the rounding as if it were not there, and moves the steps as in LSQ (Esser et al., "Learned step
    size quantization", ICLR 2020). ``step_stretch`` (out_features,) is the logarithm of what each row's step is
    multiplied by: 0 until the switch to ``fake``, so that learning starts from a normal distribution's best step.
    The input's range is followed all along, for an INT8 artefact.
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__(linear)
        self.bits = bits
        self.step_stretch = nn.Parameter(torch.zeros(linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) → (…, out_features)."""
        if self.training and self.mode != "float":
            self._observe(x)
        weight = self.weight if self.mode != "fake" else self.rounded_weight()
        return F.linear(x, weight, self.bias)

    def rounded_weight(self) -> Tensor:
        """(out, in): each row's levels times its step."""
        highest = 2**self.bits - 1
        spread = self.weight.detach().std(1) * NORMAL_STEP[self.bits]  # (out,)
        stretch = scale_gradient(self.step_stretch, (self.in_features * highest) ** -0.5)
        step = half(spread * stretch.exp()).unsqueeze(1)  # (out, 1)
        zero = ZERO_POINT[self.bits]
        return (round_through(torch.clamp(self.weight / step + zero, 0, highest)) - zero) * step


def learn_low_bits(model: nn.Module, bits: int) -> nn.Module:
    """Replace, in place, every linear layer by one that learns weights of ``bits`` bits; their names stay the same."""
    for name, child in model.named_children():
        if type(child) is nn.Linear:
            setattr(model, name, LowBitLinear(child, bits))
        else:
            learn_low_bits(child, bits)
    return model


@torch.no_grad()
def keep_rounded(model: nn.Module) -> None:
    """Give each layer that learned few bits its rounded weights for good: they are the model now, for every export."""
    for layer in quantized_layers(model).values():
        if isinstance(layer, LowBitLinear):
            layer.weight.copy_(layer.rounded_weight())
            layer.step_stretch = None


def load_low_bits(path: str | Path, bits: int) -> VelocityModel:
    """The model of ``path`` as its low-bit artefact computes it, in evaluation mode."""
    model = load_model(path)
    rows = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    with torch.no_grad():
        for parameter in model.parameters():
            if id(parameter) in rows:
                codes, step = round_rows(parameter, bits)
                parameter.copy_((codes - ZERO_POINT[bits]) * step.unsqueeze(1))
            elif parameter.numel() >= PACKED_FROM:
                codes, step = round_blocks(parameter)
                values = (codes * step.unsqueeze(1)).flatten()
                parameter.copy_(values[: parameter.numel()].reshape(parameter.shape))
    return model


@torch.no_grad()
def round_rows(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes (out, in) uint8 and steps (out,) float32 of a weight (out, in), by least squared error of each row.

    A weight that was trained so is found again without any error: the largest of a row lies on some level, and each is
    tried. Another one is rounded to nearest, with the best of ``SEARCHED`` steps.
    """
    zero, highest = ZERO_POINT[bits], 2**bits - 1
    levels = (torch.arange(highest + 1) - zero).abs().unique()
    tried = torch.cat([levels[levels > 0], levels.max() * torch.logspace(-0.1, 0.8, SEARCHED)])
    largest = weight.abs().amax(1)  # (out,)
    least = torch.full_like(largest, float("inf"))
    best = torch.zeros_like(weight), torch.ones_like(largest)
    for level in tried:
        step = half(largest / level)
        codes = torch.clamp(torch.round(weight / step.unsqueeze(1) + zero), 0, highest)
        error = ((codes - zero) * step.unsqueeze(1) - weight).square().sum(1)
        better = error < least
        least = torch.where(better, error, least)
        best = torch.where(better.unsqueeze(1), codes, best[0]), torch.where(better, step, best[1])
    return best[0].to(torch.uint8), best[1]


@torch.no_grad()
def round_blocks(values: Tensor) -> tuple[Tensor, Tensor]:
    """Any shape → codes (n, BLOCK) int8 in [-127, 127], zeros filling the last block, and steps (n,) float32."""
    flat = values.flatten()
    blocks = F.pad(flat, (0, -flat.numel() % BLOCK)).reshape(-1, BLOCK)
    step = half(blocks.abs().amax(1) / 127)
    return torch.clamp(torch.round(blocks / step.unsqueeze(1)), -127, 127).to(torch.int8), step


def half(step: Tensor) -> Tensor:
    """To the nearest 16-bit float, as float32."""
    return step.clamp(min=SMALLEST_STEP).half().float()
