"""What the inputs of a layer look like, in bounded memory, and the ranges that three methods choose for them.

``minmax`` keeps every value inside. ``percentile`` leaves out a share of the values at either end. ``entropy`` looks
for the range whose 256 levels keep most of the distribution (Migacz, "8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BINS = 8192  # over [-reach, reach]
LEVELS = 256
CANDIDATES = 64  # ends tried on either side by ``entropy``
UNSEEN = 1e-9  # probability of what the quantised distribution does not hold

Range = tuple[float, float]


class Histogram:
    """Counts of values, in bins over [-reach, reach]. ``reach`` is a power of two and doubles when a value needs it:
    two bins then become one, so that the counts do not depend on the order in which values came."""

    def __init__(self) -> None:
        self.low = self.high = 0.0  # extremes, containing 0
        self.reach = 2.0**-10
        self.counts = np.zeros(BINS)

    def add(self, values: Tensor) -> None:
        """Any shape, float32."""
        low, high = (extreme.item() for extreme in torch.aminmax(values))
        self.low, self.high = min(self.low, low), max(self.high, high)
        while self.reach < max(-low, high):
            inner = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.pad(inner, BINS // 4)
            self.reach *= 2
        self.counts += torch.histc(values.flatten(), BINS, -self.reach, self.reach).double().numpy()

    @property
    def edges(self) -> np.ndarray:
        """(BINS + 1,)."""
        return np.linspace(-self.reach, self.reach, BINS + 1)

    def outside(self, low: float, high: float) -> float:
        """The share of the values beyond ``low`` and ``high``, to a bin."""
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        return float(self.counts[(middle < low) | (middle > high)].sum() / self.counts.sum())

    def percentile(self, percentile: float) -> Range:
        """The values that all but ``percentile`` per cent stay below, and above; between them is 0."""
        below = np.concatenate([[0.0], np.cumsum(self.counts)]) / self.counts.sum()
        low, high = np.interp([1 - percentile / 100, percentile / 100], below, self.edges)
        return min(0.0, max(float(low), self.low)), max(0.0, min(float(high), self.high))

    def entropy(self) -> Range:
        """The range with the least Kullback-Leibler divergence of its 256 levels from the distribution.

        Migacz looks for one threshold of values that are positive, or symmetric. These are neither, so either end is
        moved in turn while the other stays, from the extremes on, until neither moves.
        """
        lows = np.linspace(self.low, 0.0, CANDIDATES, endpoint=False) if self.low < 0 else np.zeros(1)
        highs = np.linspace(self.high, 0.0, CANDIDATES, endpoint=False) if self.high > 0 else np.zeros(1)
        best, before = (float(lows[0]), float(highs[0])), None
        while best != before:
            before = best
            best = self._least(best, [(float(low), best[1]) for low in lows])
            best = self._least(best, [(best[0], float(high)) for high in highs])
        return best

    def _least(self, current: Range, candidates: Sequence[Range]) -> Range:
        """``current``, unless one of the candidates has less divergence; so the search ends."""
        divergences = [self.divergence(*candidate) for candidate in (current, *candidates)]
        return (current, *candidates)[int(np.argmin(divergences))]

    def divergence(self, low: float, high: float) -> float:
        """KL divergence, in nats, of what 256 levels from ``low`` to ``high`` keep of the distribution.

        As Migacz has it: values outside count as those at the end of the range in the reference alone; each level's
        values are spread evenly over those of its bins that hold any.
        """
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        inside = np.flatnonzero((middle >= low) & (middle <= high))
        if len(inside) < 2 or high <= low:
            return float("inf")
        first, last = inside[0], inside[-1]
        counts = self.counts[first : last + 1]
        if not counts.any():
            return float("inf")
        expected = counts.copy()
        expected[0] += self.counts[:first].sum()
        expected[-1] += self.counts[last + 1 :].sum()
        level = np.rint((middle[first : last + 1] - low) / (high - low) * (LEVELS - 1)).astype(int)
        filled = counts > 0
        total = np.bincount(level, counts, LEVELS)
        bins = np.bincount(level, filled, LEVELS)
        kept = np.where(filled, total[level] / np.maximum(bins[level], 1), 0.0)
        p, q = expected / expected.sum(), np.maximum(kept / kept.sum(), UNSEEN)
        seen = p > 0
        return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))
