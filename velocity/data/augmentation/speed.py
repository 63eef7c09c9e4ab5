"""Speed perturbation by resampling, so that pitch moves with tempo (Ko et al. 2015)."""

from __future__ import annotations

from velocity.audio import SAMPLE_RATE, resample
from velocity.config.section import section
from velocity.data.augmentation import Apply, Effect


@section
class Speed(Effect):
    order, off = 10, {"speeds": [1.0]}

    speeds: tuple[float, ...]  # factors, of which each utterance takes one

    def check(self) -> None:
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError(f"speeds must be factors above 0, 1.0 for as it is, not {list(self.speeds)}")

    def prepare(self, seed: int) -> Apply:
        return lambda samples, random: resample(samples, SAMPLE_RATE * random.choice(self.speeds))


EFFECT = Speed
