"""The residual blocks of the local processor: a selective SSM with convolution and gate, then a feed-forward."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.model.ssd import scan_chunked

STEP_MIN, STEP_MAX = 0.001, 0.1  # range of the initial step Δ (Mamba, section 3.6)


class SelectiveSSM(nn.Module):
    """Depthwise convolution → selective scan → gate (Mamba-2's mixer).

    ``bidirectional`` runs the second half of the heads, with B and C of their own, backwards in time: it turns their
    channels round before the causal convolution and the scan, and back afterwards.
    """

    def __init__(
        self, dim: int, inner: int, head_dim: int, state: int, kernel: int, chunk: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.inner, self.head_dim, self.state, self.chunk = inner, head_dim, state, chunk
        self.heads, self.groups = inner // head_dim, 2 if bidirectional else 1
        self.mixed = inner + 2 * self.groups * state  # channels of x, B, C
        self.input = nn.Linear(dim, inner + self.mixed + self.heads)
        self.conv = nn.Conv1d(self.mixed, self.mixed, kernel, groups=self.mixed)
        self.log_rate = nn.Parameter(torch.log(torch.linspace(1.0, 16.0, self.heads)))  # a = -exp(log_rate)·Δ
        step = torch.exp(torch.rand(self.heads) * math.log(STEP_MAX / STEP_MIN) + math.log(STEP_MIN))
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus⁻¹(step)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(inner)
        self.output = nn.Linear(inner, dim)

    def forward(self, u: Tensor, mask: Tensor) -> Tensor:
        """u (b, l, dim), mask (b, l, 1) 1.0 on frames of the utterance and 0.0 on padding → (b, l, dim)."""
        b, l, _ = u.shape
        gate, mixed, step = self.input(u).split([self.inner, self.mixed, self.heads], -1)
        # The scan and its steps stay in 32 bits whatever the precision around them: decays multiply over seconds.
        with torch.autocast(u.device.type, enabled=False):
            mixed, step, mask = (self._turn(part) for part in (mixed.float() * mask, step.float(), mask))
            mixed = F.pad(mixed.transpose(1, 2), (self.conv.kernel_size[0] - 1, 0))
            mixed = F.silu(self.conv(mixed).transpose(1, 2))  # (b, l, inner + 2gn), zeros before the first frame
            x, B, C = self._split(mixed)
            # Padding has a step of zero: it neither changes the state nor lets it decay.
            step = F.softplus(step + self.step_bias) * mask  # (b, l, h)
            y, _ = scan_chunked(x * step.unsqueeze(-1), -self.log_rate.exp() * step, B, C, self.chunk)
            y = (y + x * self.skip.unsqueeze(-1)).reshape(b, l, self.inner)
            y = self._turn(y)
        return self.output(self.norm(y * F.silu(gate)))

    def _split(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(b, l, g · (inner/g + 2n)) → x (b, l, h, p), B and C (b, l, g, n); each group's channels lie together."""
        b, l, _ = mixed.shape
        mixed = mixed.reshape(b, l, self.groups, self.mixed // self.groups)
        x, B, C = mixed.split([self.inner // self.groups, self.state, self.state], -1)
        return x.reshape(b, l, self.heads, self.head_dim), B, C

    def _turn(self, tensor: Tensor) -> Tensor:
        """Reverse in time the channels of the backward heads: (b, l, channels); its own inverse."""
        if self.groups == 1:
            return tensor
        if tensor.size(-1) == 1:  # a mask: one copy a direction, spread over the heads
            forward = tensor.expand(-1, -1, self.heads // 2)
            return torch.cat([forward, forward.flip(1)], -1)
        forward, backward = tensor.chunk(2, -1)
        return torch.cat([forward, backward.flip(1)], -1)


class SSMLayer(nn.Module):
    """Pre-norm residual selective SSM."""

    def __init__(self, dim: int, ssm: SelectiveSSM, dropout: float) -> None:
        super().__init__()
        self.norm, self.ssm, self.dropout = nn.LayerNorm(dim), ssm, nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.dropout(self.ssm(self.norm(x), mask))


class FeedForward(nn.Module):
    """Pre-norm residual feed-forward: dim → hidden → dim."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(self.dropout(F.gelu(self.up(self.norm(x))))))


class Block(nn.Module):
    """One block of the local processor: SSM layer, then feed-forward."""

    def __init__(self, dim: int, ssm: SelectiveSSM, ffn: int, dropout: float) -> None:
        super().__init__()
        self.mixer = SSMLayer(dim, ssm, dropout)
        self.feed_forward = FeedForward(dim, ffn, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (b, l, dim), mask (b, l, 1) → (b, l, dim)."""
        return self.feed_forward(self.mixer(x, mask))
