"""Global context: the utterance in a few tokens, which every local frame may look at.

Hierarchical: frames L → K1 = max(64, L/8) tokens → SSM layers → K2 = min(64, max(16, K1/4)) tokens → attention of L
frames on K2. Fixed, the flat form it is compared with: L → K = 32 tokens → SSM layers → attention of L frames on K.
Every product here is linear in L.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.model import ModelConfig
from velocity.model.block import SelectiveSSM, SSMLayer


class GlobalContext(nn.Module):
    """local frames (b, l, dim) → what the whole utterance has to say to each of them (b, l, dim)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.causal = config.direction == "causal"
        self.layers = nn.ModuleList(
            SSMLayer(
                config.dim,
                SelectiveSSM(
                    config.dim,
                    config.inner,
                    config.head_dim,
                    config.context_state,
                    config.conv_kernel,
                    config.chunk,
                    not self.causal,
                ),
                config.dropout,
            )
            for _ in range(config.context_layers)
        )
        self.attention = TokenAttention(config.dim, config.attention_heads, config.attention_head_dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (b, l, dim), mask (b, l, 1) → (b, l, dim)."""
        if self.causal:
            return self._past(x, mask)
        return self._fixed(x, mask) if self.config.context == "fixed" else self._hierarchical(x, mask)

    def _fixed(self, x: Tensor, mask: Tensor) -> Tensor:
        size = self.config.context_tokens
        frames = mask.sum((1, 2)).long()  # (b,)
        tokens, mask = pool_to(x, frames, torch.full_like(frames, size), size)  # (b, K, dim)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        return self.attention(x, tokens, mask.transpose(1, 2))

    def _hierarchical(self, x: Tensor, mask: Tensor) -> Tensor:
        config = self.config
        window, least = config.context_window, config.context_min
        size = torch.sym_max(least, (x.size(1) + window - 1) // window)
        frames = mask.sum((1, 2)).long()  # (b,)
        count = ((frames + window - 1) // window).clamp(min=least)
        tokens, mask = pool_to(x, frames, count, size)  # (b, K1, dim)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        summary_count = (count // 4).clamp(config.summary_min, config.summary_max)
        # Room for the longest summary: an utterance that has fewer tokens masks the rest.
        tokens, mask = pool_to(tokens, count, summary_count, config.summary_max)  # (b, 64, dim)
        return self.attention(x, tokens, mask.transpose(1, 2))

    def _past(self, x: Tensor, mask: Tensor) -> Tensor:
        """The causal form: windows of fixed length, and each frame sees the newest 16 summaries that are complete.

        A summary covers 4 tokens = 32 frames; the frames of one such span share their view of the past.
        """
        config = self.config
        window, span, seen = config.context_window, 4 * config.context_window, config.summary_min
        b, l, d = x.shape
        spans = (l + span - 1) // span
        x_filled, mask = (F.pad(t, (0, 0, 0, span - 1))[:, : spans * span] for t in (x, mask))
        tokens = (x_filled * mask).reshape(b, spans * 4, window, d).mean(2)  # (b, 4·spans, d)
        token_mask = mask.reshape(b, spans * 4, window).amax(2, keepdim=True)
        for layer in self.layers:
            tokens = layer(tokens, token_mask)
        summaries = tokens.reshape(b, spans, 4, d).mean(2)  # (b, spans, d)
        # Row s: the summaries s-16 … s-1; before the first one there are zeros, which the mask hides except the last,
        # so that the first span has something to attend to.
        past = F.pad(summaries, (0, 0, seen, 0))  # (b, seen + spans, d)
        index = torch.arange(spans, device=x.device).unsqueeze(1) + torch.arange(seen, device=x.device)  # (spans, seen)
        view = past[:, index.reshape(-1)].reshape(b * spans, seen, d)
        visible = ((index >= seen) | (torch.arange(seen, device=x.device) == seen - 1)).float()  # (spans, seen)
        visible = visible.unsqueeze(0).expand(b, -1, -1).reshape(b * spans, 1, seen)
        y = self.attention(x_filled.reshape(b * spans, span, d), view, visible)
        return y.reshape(b, spans * span, d)[:, :l]


class TokenAttention(nn.Module):
    """Local frames ask, a few tokens answer: (b, l, dim) × (b, k, dim) → (b, l, dim)."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, heads * head_dim)
        self.key_value = nn.Linear(dim, 2 * heads * head_dim)
        self.output = nn.Linear(heads * head_dim, dim)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x (b, l, dim), tokens (b, k, dim), mask (b, 1, k) 1.0 where a token exists."""
        b, l, _ = x.shape
        k = tokens.size(1)
        query = self.query(self.norm(x)).reshape(b, l, self.heads, self.head_dim).transpose(1, 2)  # (b, h, l, p)
        both = self.key_value(self.token_norm(tokens)).reshape(b, k, 2, self.heads, self.head_dim)
        key, value = both.permute(2, 0, 3, 1, 4)  # each (b, h, k, p)
        score = query @ key.transpose(-1, -2) / math.sqrt(self.head_dim)  # (b, h, l, k)
        score = score.masked_fill(mask.unsqueeze(1) == 0, float("-inf")).softmax(-1)
        return self.output((score @ value).transpose(1, 2).reshape(b, l, self.heads * self.head_dim))


def pool_to(x: Tensor, length: Tensor, count: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Average x over ``count`` windows that divide its first ``length`` frames, as adaptive average pooling does.

    x (b, l, d), length (b,) and count (b,) int64, size ≥ max(count) → (b, size, d) and mask (b, size, 1); tokens
    beyond count are zero. Window i covers the frames from ⌊i·length/count⌋ to ⌈(i+1)·length/count⌉. Differences of
    cumulative sums, since no exporter knows adaptive pooling of a dynamic length; the sums run over deviations from
    the mean, which keeps them small, and so exact, over an hour of frames.
    """
    l, d = x.shape[1:]
    length, count = length.unsqueeze(1), count.unsqueeze(1)  # (b, 1)
    valid = (torch.arange(l, device=x.device) < length).unsqueeze(-1).to(x.dtype)  # (b, l, 1)
    mean = (x * valid).sum(1, keepdim=True) / length.unsqueeze(-1)  # (b, 1, d)
    sums = F.pad(((x - mean) * valid).cumsum(1), (0, 0, 1, 0))  # (b, l+1, d)
    index = torch.arange(size, device=x.device).unsqueeze(0)  # (1, size)
    start = torch.minimum(index * length // count, length)  # (b, size)
    end = torch.minimum(((index + 1) * length + count - 1) // count, length)
    gather = lambda border: sums.gather(1, border.unsqueeze(-1).expand(-1, -1, d))  # noqa: E731
    frames = (end - start).clamp(min=1).unsqueeze(-1)
    mask = (index < count).unsqueeze(-1).to(x.dtype)
    return ((gather(end) - gather(start)) / frames + mean) * mask, mask
