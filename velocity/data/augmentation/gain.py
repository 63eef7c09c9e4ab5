"""The level of the recording; nothing is clipped at full scale."""

from __future__ import annotations

import numpy as np

from velocity.config.section import NotNegative, Share, section
from velocity.data.augmentation import Apply, Effect, in_share

CHANGE_DB = 20.0  # by which the level falls or rises within an utterance, at most


@section
class Gain(Effect):
    order, off = 40, {"gain_db": 0.0, "level_changes": 0.0}

    gain_db: NotNegative  # uniform in ±gain_db
    level_changes: Share  # share of the utterances in which the talker turns away or comes nearer once

    def prepare(self, seed: int) -> Apply | None:
        steps = [self._set_level if self.gain_db else None, in_share(self.level_changes, change_level)]
        chosen = [step for step in steps if step]

        def apply(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
            for step in chosen:
                samples = step(samples, random)
            return samples

        return apply if chosen else None

    def _set_level(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return samples * np.float32(10 ** (random.uniform(-self.gain_db, self.gain_db) / 20))


def change_level(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(samples,) float32, quieter before or after a drawn place: 0 to CHANGE_DB, the other side as it was."""
    place, factor = int(random.integers(len(samples) + 1)), np.float32(10 ** (-random.uniform(0.0, CHANGE_DB) / 20))
    changed = samples.copy()
    changed[slice(place) if random.random() < 0.5 else slice(place, None)] *= factor
    return changed


EFFECT = Gain
