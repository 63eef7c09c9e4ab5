"""SpecAugment's masks of time: stretches of an utterance are hidden (Park et al. 2019)."""

from __future__ import annotations

import numpy as np

from velocity.config.section import CountOrZero, Share, section
from velocity.data.augmentation import Apply, Effect


@section
class TimeMasks(Effect):
    order, masks, off = 110, True, {"time_masks": 0}

    time_masks: CountOrZero  # masks may overlap, and may have no width
    time_mask_share: Share  # longest time mask, as a share of the utterance

    def prepare(self, seed: int) -> Apply | None:
        return self._mask_time if self.time_masks else None

    def _mask_time(self, features: np.ndarray, fill: np.ndarray, random: np.random.Generator) -> np.ndarray:
        frames = len(features)
        longest = int(frames * self.time_mask_share)
        for _ in range(self.time_masks):
            width = int(random.integers(0, longest + 1))
            start = int(random.integers(0, frames - width + 1))
            features[start : start + width] = fill
        return features


EFFECT = TimeMasks
