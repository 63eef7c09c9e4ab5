"""The section ``pretrain``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from velocity.config.augmentation import AugmentationOrOff
from velocity.config.optimisation import Optimisation
from velocity.config.section import Count, CountOrZero, NotNegative, Positive, Share, section


@section
class RandomQuantizer:
    """The targets of BEST-RQ: labels of hidden frames under codebooks that are drawn and never trained."""

    codebooks: Count
    codebook_size: Annotated[int, Field(ge=2)]
    code_dim: Count
    noise: NotNegative  # standard deviation of what hidden frames become


@section
class Supervision:
    """CTC on transcripts, as in fine-tuning: its keys mean what those of ``Finetuning`` mean."""

    early: Share
    phones: Share
    augmentation_ramp: CountOrZero
    augmentation: AugmentationOrOff


@section
class Probe:
    """How well a linear CTC head reads the frozen encoder, beside the same encoder before its pretraining."""

    utterances: CountOrZero  # labelled, to train on, and at most so many to test on; 0: no probe
    steps: Count
    learning_rate: Positive


@section
class Pretraining:
    """Stage 1: self-supervision on all audio that may be trained on, or supervision where there are transcripts."""

    optimisation: Optimisation
    objective: Literal["spectrogram", "best-rq", "supervised"]
    # The specification starts a 10-frame mask at 15 % of the frames and calls it "about 50 %" masked; that masks 80 %.
    # 0.067 gives the intended half: 1 - (1 - 0.067)^10 = 0.50.
    mask_start: Share
    mask_span: Count  # feature frames
    band_probability: Share  # of also masking a band of frequencies, for the objective spectrogram
    band_bins: tuple[int, int]
    best_rq: RandomQuantizer
    supervised: Supervision
    probe: Probe

    def __post_init__(self) -> None:
        low, high = self.band_bins
        if not 0 <= low <= high <= 80:
            raise ValueError(f"band_bins must be [fewest, most] of the 80 bins, not {list(self.band_bins)}")
