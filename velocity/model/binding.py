"""Temporal binding: strided convolution over log-mel frames and a positional encoding in time and frequency."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TemporalBinding(nn.Module):
    """Normalised log-mel (b, frames, mel_bins) → (b, ⌈frames / stride⌉, dim).

    One convolution of kernel 3 halves the frame rate; a stride of 4 takes two. A causal model pads on the left only,
    so that no frame depends on a later one.
    """

    def __init__(self, mel_bins: int, dim: int, stride: int, causal: bool) -> None:
        super().__init__()
        widths = [mel_bins] + [dim] * (stride // 2)
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, stride=2) for a, b in pairwise(widths))
        self.padding = (2, 0) if causal else (1, 1)
        self.norm = nn.LayerNorm(dim)
        self.position = PositionalEncoding(dim)

    def forward(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """mel (b, frames, mel_bins), mask (b, frames, 1) → (b, l, dim) and its mask (b, l, 1)."""
        x = mel
        for conv in self.convs:
            x = F.gelu(conv(F.pad((x * mask).transpose(1, 2), self.padding)).transpose(1, 2))
            mask = mask[:, ::2]  # frame i of the output is centred on frame 2i of the input
        return self.position(self.norm(x)), mask


class PositionalEncoding(nn.Module):
    """Two axes: sinusoids of time, and a learned code of frequency.

    After the convolution the channels are what is left of the frequency axis; they start from the sinusoids of their
    own index. Both parts are scaled by learned gains that start small: the scan already knows order.
    """

    def __init__(self, dim: int, gain: float = 0.1) -> None:
        super().__init__()
        channel = torch.arange(dim)
        self.frequency = nn.Parameter(gain * torch.sin(2 * math.pi * channel / dim))
        self.time_gain = nn.Parameter(torch.full((dim,), gain))
        self.register_buffer("rate", 10_000.0 ** (-(channel[: dim // 2]) / (dim // 2)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, dim) → (b, l, dim)."""
        angle = torch.arange(x.size(1), device=x.device).float().unsqueeze(1) * self.rate  # (l, dim/2) radians
        time = torch.cat([angle.sin(), angle.cos()], -1)
        return x + self.time_gain * time + self.frequency
