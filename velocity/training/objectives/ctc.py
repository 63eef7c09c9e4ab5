"""The objective of fine-tuning."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.augmentation import Augmentation
from velocity.data.batches import Batch
from velocity.data.distortion import masked
from velocity.model.asr import BLANK, VelocityModel, ctc_head


class CTC(nn.Module):
    """Connectionist temporal classification (Graves et al. 2006): mean over utterances of loss per label.

    ``early`` is the weight of the same loss on the posteriors of a head of its own behind the middle block, which the
    recogniser does without (Lee & Watanabe 2021, "Intermediate loss regularization"). The features of augmented
    batches are masked as ``augmentation`` says.
    """

    def __init__(
        self,
        model: VelocityModel,
        early: float = 0.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.model, self.early, self.augmentation = model, early, augmentation
        config = model.config
        head = ctc_head(config.dim, config.classes, config.head_rank)
        self.early_head = nn.Sequential(nn.LayerNorm(config.dim), head) if early else None

    def forward(self, batch: Batch) -> Tensor:
        model = self.model
        features = model.normalize(batch.features, batch.lengths)
        if self.training and batch.augmented:
            features = masked(self.augmentation, features, batch.lengths)
        encoded = model.encode(features, batch.lengths)
        loss = ctc_loss(model.log_posteriors(model.head(encoded.frames)), encoded.lengths, batch)
        if self.training and self.early_head is not None:
            middle = self.early_head(encoded.blocks[len(encoded.blocks) // 2 - 1])
            loss = (1 - self.early) * loss + self.early * ctc_loss(model.log_posteriors(middle), encoded.lengths, batch)
        return loss


def ctc_loss(log_probs: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
    """log posteriors (b, l, vocabulary), lengths (b,) of them → scalar."""
    return F.ctc_loss(
        log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=BLANK, zero_infinity=True
    )
