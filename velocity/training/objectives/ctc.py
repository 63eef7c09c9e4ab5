"""The objective of fine-tuning."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from velocity.data.batches import Batch
from velocity.model.asr import BLANK, VelocityModel


class CTC(nn.Module):
    """Connectionist temporal classification (Graves et al. 2006): mean over utterances of loss per label."""

    def __init__(self, model: VelocityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        log_probs, lengths = self.model(batch.features, batch.lengths)
        return F.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=BLANK, zero_infinity=True
        )
