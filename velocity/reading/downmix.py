"""Several channels → one."""

from __future__ import annotations

import numpy as np

CANCELLED = 0.1  # power of the mean, of what it would be for unrelated channels: below, they are out of phase
RESTORED = 0.5  # from here on they no longer are
STRONGER = 4.0  # times the power of the channel in use that another one must have, to be taken instead
DECISION = 0.25  # seconds
CANCEL = "its channels cancel each other, so that the strongest one is used alone"


class Downmix:
    """The mean of the channels, or while that cancels them, the strongest one: block by block.

    The mean of unrelated channels of powers P has the power ΣP/n². Channels that are recorded or wired out of phase
    have much less, and speech in them would vanish.
    """

    def __init__(self, rate: int) -> None:
        self.cancelled = False  # whether the mean was ever left
        self._size = max(1, round(DECISION * rate))
        self._chosen: int | None = None  # channel; None: the mean

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(n, channels) float32 → (n,) float32, an array of its own."""
        count = block.shape[1]
        if count == 1:
            return block[:, 0].copy()
        mean = block.mean(axis=1)
        if not len(block):
            return mean
        starts = np.arange(max(1, len(block) // self._size)) * self._size  # the last piece takes the rest
        power = np.add.reduceat(np.square(block), starts)  # (pieces, channels)
        related = np.add.reduceat(np.square(mean), starts) * count**2
        total = power.sum(axis=1)
        if self._chosen is None and not (related < CANCELLED * total).any():
            return mean
        ends = [*starts[1:], len(block)]
        chosen = []
        for piece, (first, end) in enumerate(zip(starts, ends, strict=True)):
            before = self._chosen
            if end - first >= self._size // 2:  # a few samples decide nothing
                self._decide(power[piece], related[piece], total[piece])
            chosen.append(before if self._chosen is None else self._chosen)
        for first, end, own, after in zip(starts, ends, chosen, [*chosen[1:], None], strict=True):
            channel = after if own is None else own  # a change lies within a piece
            if channel is not None:
                mean[first:end] = block[first:end, channel]
        return mean

    def _decide(self, power: np.ndarray, related: float, total: float) -> None:
        if related < CANCELLED * total:
            strongest = int(power.argmax())
            if self._chosen is None or power[strongest] > STRONGER * power[self._chosen]:
                self._chosen = strongest
            self.cancelled = True
        elif related > RESTORED * total:
            self._chosen = None
