"""SpecAugment's masks of frequency: bands are hidden in the whole utterance (Park et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from velocity.audio import MEL_BINS
from velocity.config.section import CountOrZero, section
from velocity.data.augmentation import Effect

if TYPE_CHECKING:
    from torch import Tensor


@section
class FrequencyMasks(Effect):
    order, masks, off = 120, True, {"frequency_masks": 0}

    frequency_masks: CountOrZero
    frequency_mask_bins: Annotated[int, Field(ge=0, le=MEL_BINS)]  # of the widest mask

    def hidden(self, lengths: Tensor, frames: int, bins: int) -> Tensor | None:
        import torch

        if not self.frequency_masks:
            return None
        drawn = torch.rand(2, len(lengths), self.frequency_masks, 1, device=lengths.device)
        width = (drawn[0] * (self.frequency_mask_bins + 1)).floor()  # (b, masks, 1)
        low = (drawn[1] * (bins - width + 1)).floor()
        index = torch.arange(bins, device=lengths.device)
        return ((index >= low) & (index < low + width)).any(1).unsqueeze(1)  # (b, 1, bins)


EFFECT = FrequencyMasks
