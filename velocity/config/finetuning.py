"""The section ``finetune``."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from velocity.config.augmentation import AugmentationOrOff
from velocity.config.optimisation import Optimisation
from velocity.config.section import CountOrZero, Share, section


@section
class Finetuning:
    """Stage 2: CTC with quantisation-aware training. ``qat_start`` is in no ``repr``: see ``Optimisation``.

    Nor is ``base``, whose graph is in the fingerprint itself, nor ``share``, which comes after the training.
    """

    optimisation: Optimisation
    start_from: Literal["random", "pretrained"]  # models/<start_from>.safetensors
    qat: bool
    qat_start: Share = field(repr=False)  # share of the steps trained in floating point first
    augmentation_ramp: CountOrZero  # epochs until every batch is augmented: none in the first, then a rising share
    early: Share  # weight of the loss behind the middle block; 0: none
    phones: Share  # weight of the phones' loss, of a model with a head for them
    mmi: Share  # weight of maximum mutual information in it; 0: CTC alone
    consistency: Share  # weight of the difference between two views of an utterance; 0: one view
    weight_bits: Literal[8, 4, 2]  # of the linear layers; 4 and 2 are of the weights alone
    activation_ranges: Literal["moving-average", "learned"]  # learned: from that average on
    augmentation: AugmentationOrOff
    base: str | None = field(repr=False)  # folder of a released model: weights, statistics, tokenizer
    share: Share = field(repr=False)  # the result is base + share · (trained − base)

    def __post_init__(self) -> None:
        if self.base and (self.start_from != "random" or self.weight_bits != 8):
            raise ValueError("base, a released model to start from, needs start_from: random and weight_bits: 8")
        if self.share < 1 and not self.base:
            raise ValueError("share below 1, an average with base, needs base")
        if self.weight_bits != 8 and not self.qat:
            raise ValueError("weight_bits below 8 need qat: true: few bits have to be trained")
        if self.weight_bits != 8 and self.activation_ranges == "learned":
            raise ValueError("activation_ranges: learned needs weight_bits: 8: with fewer, activations are not rounded")
