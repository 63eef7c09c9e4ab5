"""Silence, or the faint noise of a microphone, before and after an utterance, and between utterances that are joined."""

from __future__ import annotations

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.config.section import Share, section
from velocity.data.augmentation import Apply, Effect, in_share

LEVELS_DB = (-90.0, -55.0)  # of full scale
DIGITAL = 0.4  # share without any noise


@section
class Quiet(Effect):
    order, off = 45, {"quiet": 0.0, "joined": 0.0}

    quiet: Share  # share of the utterances with quiet around them
    quiet_seconds: tuple[float, float]  # before, after and between utterances; each drawn
    joined: Share  # share of the batches whose utterances are joined by twos or threes

    def check(self) -> None:
        if not 0 <= self.quiet_seconds[0] <= self.quiet_seconds[1]:
            raise ValueError(f"quiet_seconds must be [low, high] in seconds, not {list(self.quiet_seconds)}")

    def prepare(self, seed: int) -> Apply | None:
        return in_share(self.quiet, self._surround)

    def _surround(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        parts = [self.pause(random), samples, self.pause(random)]
        return np.concatenate([parts, parts[:2], parts[1:]][random.integers(3)])

    def pause(self, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 of silence or of faint noise."""
        length = round(random.uniform(*self.quiet_seconds) * SAMPLE_RATE)
        if random.random() < DIGITAL:
            return np.zeros(length, np.float32)
        return random.standard_normal(length, np.float32) * np.float32(10 ** (random.uniform(*LEVELS_DB) / 20))


EFFECT = Quiet
