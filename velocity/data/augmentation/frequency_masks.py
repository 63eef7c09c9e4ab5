"""SpecAugment's masks of frequency: bands are hidden in the whole utterance (Park et al. 2019)."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from velocity.audio import MEL_BINS
from velocity.config.section import CountOrZero, section
from velocity.data.augmentation import Apply, Effect


@section
class FrequencyMasks(Effect):
    order, masks, off = 120, True, {"frequency_masks": 0}

    frequency_masks: CountOrZero
    frequency_mask_bins: Annotated[int, Field(ge=0, le=MEL_BINS)]  # of the widest mask

    def prepare(self, seed: int) -> Apply | None:
        return self._mask_frequencies if self.frequency_masks else None

    def _mask_frequencies(self, features: np.ndarray, fill: np.ndarray, random: np.random.Generator) -> np.ndarray:
        for _ in range(self.frequency_masks):
            width = int(random.integers(0, self.frequency_mask_bins + 1))
            low = int(random.integers(0, MEL_BINS - width + 1))
            features[:, low : low + width] = fill[low : low + width]
        return features


EFFECT = FrequencyMasks
