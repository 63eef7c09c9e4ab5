"""The objective of fine-tuning."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.augmentation import Augmentation
from velocity.data.batches import Batch
from velocity.data.distortion import masked
from velocity.model.asr import BLANK, VelocityModel, ctc_head
from velocity.training.objectives.mmi import Denominator
from velocity.training.phones import PhoneTargets


class CTC(nn.Module):
    """Connectionist temporal classification (Graves et al. 2006): mean over utterances of loss per label.

    ``early`` is the weight of the same loss on the posteriors of a head of its own behind the middle block, which the
    recogniser does without (Lee & Watanabe 2021, "Intermediate loss regularization"). ``phones`` is that of the loss of
    the phones that ``phone_targets`` finds, for a model with a head for them; the rest is of the letters. Both are of
    training alone. The features of augmented batches are masked as ``augmentation`` says.

    ``denominator`` makes the phones' loss one of maximum mutual information.

    With ``consistency``, augmented batches are recognised twice, under other masks and dropout, and each time the
    posteriors should be those of the other time: ``consistency`` is the weight of their divergence (Yao et al. 2024,
    "CR-CTC: Consistency regularization on CTC").
    """

    def __init__(
        self,
        model: VelocityModel,
        early: float = 0.0,
        augmentation: Augmentation | None = None,
        phones: float = 0.0,
        phone_targets: PhoneTargets | None = None,
        consistency: float = 0.0,
        denominator: Denominator | None = None,
    ) -> None:
        super().__init__()
        self.model, self.early, self.augmentation = model, early, augmentation
        self.phones, self.phone_targets, self.consistency = phones, phone_targets, consistency
        self.denominator = denominator
        config = model.config
        head = ctc_head(config.dim, config.classes, config.head_rank)
        self.early_head = nn.Sequential(nn.LayerNorm(config.dim), head) if early else None

    def forward(self, batch: Batch) -> Tensor:
        model, augmented = self.model, self.training and batch.augmented
        twice = bool(augmented and self.consistency)
        if twice:
            batch = doubled(batch)
        features = model.normalize(batch.features, batch.lengths)
        if augmented:
            features = masked(self.augmentation, features, batch.lengths)
        encoded = model.encode(features, batch.lengths)

        def loss_of(log_probs: Tensor, targets: tuple[Tensor, Tensor]) -> Tensor:
            loss = ctc_loss(log_probs, encoded.lengths, *targets)
            return loss + self.consistency * divergence(log_probs, encoded.lengths, targets[1]) if twice else loss

        letters = batch.targets, batch.target_lengths
        loss = loss_of(model.log_posteriors(model.head(encoded.frames)), letters)
        if self.training and self.early_head is not None:
            middle = self.early_head(encoded.blocks[len(encoded.blocks) // 2 - 1])
            early = ctc_loss(model.log_posteriors(middle), encoded.lengths, *letters)
            loss = (1 - self.early) * loss + self.early * early
        if self.training and self.phone_targets is not None:
            targets = self.phone_targets(batch)
            log_posteriors = model.phone_log_posteriors(encoded.frames)
            phones = loss_of(log_posteriors, targets)
            if self.denominator is not None:
                phones = phones + self.denominator(log_posteriors, encoded.lengths, *targets)
            loss = (1 - self.phones) * loss + self.phones * phones
        return loss


def doubled(batch: Batch) -> Batch:
    """Every utterance twice: b of them, then the same again."""
    tensors = (batch.features, batch.lengths, batch.targets, batch.target_lengths)
    return Batch(2 * batch.ids, *(torch.cat([each, each]) for each in tensors), batch.position, batch.augmented)


def divergence(log_probs: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """How far two views of the same utterances differ: log posteriors (2b, l, classes), lengths (2b,) of them, the
    number of ``labels`` (2b,) → scalar.

    Half the Kullback-Leibler divergences both ways, summed over the frames, in nats a label like the CTC loss; each
    view is drawn to the other as if that were fixed. Frames beyond a length do not count.
    """
    one, other = log_probs.chunk(2)
    lengths, labels = lengths.chunk(2)[0], labels.chunk(2)[0].clamp(min=1)
    both = sum(
        F.kl_div(view, target.detach(), reduction="none", log_target=True).sum(-1)
        for view, target in ((one, other), (other, one))
    )  # (b, l)
    counts = torch.arange(both.size(1), device=both.device) < lengths.unsqueeze(1)
    return ((both * counts).sum(1) / labels).mean() / 2


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """log posteriors (b, l, classes), lengths (b,) of them; classes (b, longest), lengths (b,) of them → scalar."""
    return F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, zero_infinity=True)
