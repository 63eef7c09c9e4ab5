"""Silence, or the faint noise of a microphone, around utterances, and between utterances that are joined.

It is drawn for a whole batch: its utterances stay of similar length, so that no time goes into padding.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.config.section import Share, section
from velocity.data.augmentation import Effect

LEVELS_DB = (-90.0, -55.0)  # of full scale
DIGITAL = 0.4  # share without any noise
LONGEST_JOINED = 30.0  # seconds


@section
class Quiet(Effect):
    order, off = 45, {"quiet": 0.0, "joined": 0.0}

    quiet: Share  # share of the batches whose utterances have quiet around them
    quiet_seconds: tuple[float, float]  # around and between utterances; drawn
    joined: Share  # share of the batches whose utterances are joined by twos or threes

    def check(self) -> None:
        if not 0 <= self.quiet_seconds[0] <= self.quiet_seconds[1]:
            raise ValueError(f"quiet_seconds must be [low, high] in seconds, not {list(self.quiet_seconds)}")

    def prepare(self, seed: int) -> None:
        """Nothing that happens to one utterance by itself."""

    def draw(self, longest: float, random: np.random.Generator) -> tuple[int, float]:
        """For a batch: utterances that become one, of at most ``longest`` seconds each, and seconds of quiet around."""
        together = int(random.integers(2, 4)) if random.random() < self.joined else 1
        around = random.uniform(*self.quiet_seconds) if random.random() < self.quiet else 0.0
        return max(1, min(together, int(LONGEST_JOINED / longest))), around

    def join(self, parts: list[np.ndarray], around: float, random: np.random.Generator) -> np.ndarray:
        """Parts with quiet between them, and ``around`` seconds of it in all before the first and after the last."""
        before = random.uniform(0, around)
        gaps = [before, *(random.uniform(*self.quiet_seconds) for _ in pairwise(parts)), around - before]
        pauses = [self.pause(seconds, random) for seconds in gaps]
        return np.concatenate([*(part for pair in zip(pauses, parts, strict=False) for part in pair), pauses[-1]])

    def pause(self, seconds: float, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 of silence or of faint noise."""
        length = round(seconds * SAMPLE_RATE)
        if random.random() < DIGITAL:
            return np.zeros(length, np.float32)
        return random.standard_normal(length, np.float32) * np.float32(10 ** (random.uniform(*LEVELS_DB) / 20))


EFFECT = Quiet
