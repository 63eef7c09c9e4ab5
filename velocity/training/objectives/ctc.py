"""The objective of fine-tuning."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.augmentation import Augmentation
from velocity.data.batches import Batch
from velocity.data.distortion import masked
from velocity.model.asr import BLANK, VelocityModel, ctc_head
from velocity.training.phones import PhoneTargets


class CTC(nn.Module):
    """Connectionist temporal classification (Graves et al. 2006): mean over utterances of loss per label.

    ``early`` is the weight of the same loss on the posteriors of a head of its own behind the middle block, which the
    recogniser does without (Lee & Watanabe 2021, "Intermediate loss regularization"). ``phones`` is that of the loss of
    the phones that ``phone_targets`` finds, for a model with a head for them; the rest is of the letters. Both are of
    training alone. The features of augmented batches are masked as ``augmentation`` says.
    """

    def __init__(
        self,
        model: VelocityModel,
        early: float = 0.0,
        augmentation: Augmentation | None = None,
        phones: float = 0.0,
        phone_targets: PhoneTargets | None = None,
    ) -> None:
        super().__init__()
        self.model, self.early, self.augmentation = model, early, augmentation
        self.phones, self.phone_targets = phones, phone_targets
        config = model.config
        head = ctc_head(config.dim, config.classes, config.head_rank)
        self.early_head = nn.Sequential(nn.LayerNorm(config.dim), head) if early else None

    def forward(self, batch: Batch) -> Tensor:
        model = self.model
        features = model.normalize(batch.features, batch.lengths)
        if self.training and batch.augmented:
            features = masked(self.augmentation, features, batch.lengths)
        encoded = model.encode(features, batch.lengths)
        letters = batch.targets, batch.target_lengths
        loss = ctc_loss(model.log_posteriors(model.head(encoded.frames)), encoded.lengths, *letters)
        if self.training and self.early_head is not None:
            middle = self.early_head(encoded.blocks[len(encoded.blocks) // 2 - 1])
            early = ctc_loss(model.log_posteriors(middle), encoded.lengths, *letters)
            loss = (1 - self.early) * loss + self.early * early
        if self.training and self.phone_targets is not None:
            log_probs = model.phone_log_posteriors(encoded.frames)
            phones = ctc_loss(log_probs, encoded.lengths, *self.phone_targets(batch))
            loss = (1 - self.phones) * loss + self.phones * phones
        return loss


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """log posteriors (b, l, classes), lengths (b,) of them; classes (b, longest), lengths (b,) of them → scalar."""
    return F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, zero_infinity=True)
