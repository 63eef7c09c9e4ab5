"""The residual blocks of the local processor: a selective SSM with convolution and gate, then a feed-forward."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.model.ssd import WHOLE, exporting, scan_chunked, scan_whole

STEP_MIN, STEP_MAX = 0.001, 0.1  # range of the initial step Δ (Mamba, section 3.6)


class SelectiveSSM(nn.Module):
    """Depthwise convolution → selective scan → gate (Mamba-2's mixer, its convolution before the projection).

    ``bidirectional`` runs the second half of the heads, with B and C of their own, backwards in time, and centres the
    convolution. Otherwise no frame depends on a later one.
    """

    def __init__(
        self, dim: int, inner: int, head_dim: int, state: int, kernel: int, chunk: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.inner, self.head_dim, self.state, self.chunk = inner, head_dim, state, chunk
        self.heads, self.groups = inner // head_dim, 2 if bidirectional else 1
        self.before = kernel // 2 if bidirectional else kernel - 1  # frames of the past that the convolution covers
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.input = nn.Linear(dim, 2 * inner + 2 * self.groups * state + self.heads)
        # Each direction has the whole range of memories: a = -exp(log_rate)·Δ, and steps that are spread as evenly.
        rates = torch.linspace(1.0, 16.0, self.heads // self.groups)
        self.log_rate = nn.Parameter(torch.log(rates).repeat(self.groups))
        step = torch.exp(torch.rand(self.heads) * math.log(STEP_MAX / STEP_MIN) + math.log(STEP_MIN))
        self.step_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus⁻¹(step)
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(inner)
        self.output = nn.Linear(inner, dim)

    def forward(self, u: Tensor, mask: Tensor) -> Tensor:
        """u (b, l, dim), mask (b, l, 1) 1.0 on frames of the utterance and 0.0 on padding → (b, l, dim)."""
        kernel = self.conv.kernel_size[0]
        around = F.pad(u * mask, (0, 0, self.before, kernel - 1 - self.before))
        gate, x, B, C, step = self.project(u + self.convolve(around))
        # The scan and its steps stay in 32 bits whatever the precision around them: decays multiply over seconds.
        with torch.autocast(u.device.type, enabled=False):
            # Padding has a step of zero: it neither changes the state nor lets it decay.
            step = F.softplus(step.float() + self.step_bias) * mask  # (b, l, h)
            x, B, C = x.float(), B.float(), C.float()
            decay = -self.log_rate.exp() * step
            y = self.add_skip(self.scan(x * step.unsqueeze(-1), decay, B, C), x)
        return self.output(self.norm(y * F.silu(gate)))

    def convolve(self, around: Tensor) -> Tensor:
        """(b, kernel - 1 + l, dim) → (b, l, dim). Two-dimensional, as a processor's kernels are fast where channels
        are the last axis in memory; those of one dimension are several times slower. Exported graphs do the same
        themselves where it pays."""
        if exporting():
            return self.conv(around.transpose(1, 2)).transpose(1, 2)
        weight = self.conv.weight.unsqueeze(2)  # (dim, 1, 1, kernel)
        y = F.conv2d(around.transpose(1, 2).unsqueeze(2), weight, self.conv.bias, groups=self.conv.groups)
        return y.squeeze(2).transpose(1, 2)

    def project(self, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """v (b, l, dim) → gate (b, l, inner), x (b, l, h, p), B and C (b, l, g, n), step (b, l, h)."""
        b, l, _ = v.shape
        shared = self.groups * self.state
        gate, x, B, C, step = self.input(v).split([self.inner, self.inner, shared, shared, self.heads], -1)
        B, C = (part.reshape(b, l, self.groups, self.state) for part in (B, C))
        return gate, x.reshape(b, l, self.heads, self.head_dim), B, C, step

    def scan(self, x: Tensor, decay: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """From an empty state: shapes as ``scan_chunked`` takes them → (b, l, h, p)."""
        if not exporting() and x.size(1) <= WHOLE:
            return scan_whole(x, decay, B, C, bidirectional=self.groups == 2)
        y, _ = scan_chunked(x, decay, B, C, self.chunk, bidirectional=self.groups == 2)
        return y

    def add_skip(self, y: Tensor, x: Tensor) -> Tensor:
        """y and x (b, l, h, p) → (b, l, inner)."""
        return (y + x * self.skip.unsqueeze(-1)).flatten(2)


class TimeDropout(nn.Module):
    """Dropout of whole channels of an utterance: one mask for all its frames, (b, l, d) → (b, l, d)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        return x * F.dropout(torch.ones_like(x[:, :1]), self.share)


class SSMLayer(nn.Module):
    """Pre-norm residual selective SSM."""

    def __init__(self, dim: int, ssm: SelectiveSSM, dropout: float) -> None:
        super().__init__()
        self.norm, self.ssm, self.dropout = nn.LayerNorm(dim), ssm, TimeDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.dropout(self.ssm(self.norm(x), mask))


class FeedForward(nn.Module):
    """Pre-norm residual feed-forward: dim → hidden → dim."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = TimeDropout(dropout)

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
