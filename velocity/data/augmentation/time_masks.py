"""SpecAugment's masks of time: stretches of an utterance are hidden (Park et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from velocity.config.section import CountOrZero, Share, section
from velocity.data.augmentation import Effect

if TYPE_CHECKING:
    from torch import Tensor


@section
class TimeMasks(Effect):
    order, masks, off = 110, True, {"time_masks": 0}

    time_masks: CountOrZero  # masks may overlap, and may have no width
    time_mask_share: Share  # longest time mask, as a share of the utterance

    def hidden(self, lengths: Tensor, frames: int, bins: int) -> Tensor | None:
        import torch

        if not self.time_masks:
            return None
        drawn = torch.rand(2, len(lengths), self.time_masks, 1, device=lengths.device)
        lengths = lengths[:, None, None]
        width = (drawn[0] * (lengths * self.time_mask_share + 1)).floor()  # (b, masks, 1)
        start = (drawn[1] * (lengths - width + 1)).floor()
        frame = torch.arange(frames, device=lengths.device)
        return ((frame >= start) & (frame < start + width)).any(1).unsqueeze(-1)  # (b, frames, 1)


EFFECT = TimeMasks
