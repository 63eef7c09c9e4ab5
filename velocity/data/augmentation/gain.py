"""The level of the recording; nothing is clipped at full scale."""

from __future__ import annotations

import numpy as np

from velocity.config.section import NotNegative, section
from velocity.data.augmentation import Apply, Effect


@section
class Gain(Effect):
    order, off = 40, {"gain_db": 0.0}

    gain_db: NotNegative  # uniform in ±gain_db

    def prepare(self, seed: int) -> Apply | None:
        return self._change_level if self.gain_db else None

    def _change_level(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return samples * np.float32(10 ** (random.uniform(-self.gain_db, self.gain_db) / 20))


EFFECT = Gain
