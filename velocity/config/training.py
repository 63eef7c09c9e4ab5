"""The sections ``pretrain``, ``finetune`` and ``calibrate``: what the three stages of training need."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from velocity.config.section import section

Share = Annotated[float, Field(ge=0, le=1)]


@section
class Augmentation:
    """Training-time distortions, in the order in which they happen to a sound; each is off at 0 (speeds: at [1.0])."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    rooms: Share = 0.0  # share of utterances heard in a room
    room_source: str | None = None  # a folder of impulse responses; without one, rooms are simulated
    simulated_rooms: Annotated[int, Field(ge=1)] = 40
    room_rt60: tuple[float, float] = (0.2, 0.6)  # seconds in which the sound of a simulated room falls by 60 dB
    noise: Share = 0.0  # share of utterances that get noise
    noise_source: str | None = None  # a folder of recordings; without one, noise is generated, white to pink
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    gain_db: float = 6.0  # uniform in ±gain_db
    telephone: Share = 0.0  # share heard over a telephone: 300 to 3400 Hz, 8 kHz, µ-law
    codec: Share = 0.0  # share encoded and decoded by one of the codecs
    codecs: tuple[Literal["opus", "vorbis", "mp3"], ...] = ("opus", "vorbis", "mp3")
    time_masks: int = 2
    time_mask_share: Share = 0.05  # longest time mask, as a share of the utterance
    frequency_masks: int = 2
    frequency_mask_bins: Annotated[int, Field(ge=0, le=80)] = 15

    def __post_init__(self) -> None:
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError(f"speeds must be factors above 0, 1.0 for as it is, not {list(self.speeds)}")
        if not 0 < self.room_rt60[0] <= self.room_rt60[1]:
            raise ValueError(f"room_rt60 must be [low, high] in seconds, above 0, not {list(self.room_rt60)}")
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError(f"noise_snr_db must be [low, high] in dB, not {list(self.noise_snr_db)}")
        if self.codec and not self.codecs:
            raise ValueError("codec is on, but codecs names none")


@section
class Optimisation:
    """How a model is trained. One step hears ``accumulate`` batches of ``batch_seconds`` in each process.

    ``skip_steps``, ``keep_checkpoints`` and ``loaders`` are in no ``repr``, and so in no fingerprint of a checkpoint: a
    training that was stopped goes on from its checkpoint when they change.
    """

    steps: int
    batch_seconds: float = 120.0
    accumulate: Annotated[int, Field(ge=1)] = 1  # batches a step
    learning_rate: float = 0.001
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay a step of the average of the weights that is kept; 0: none
    patience: Annotated[int, Field(ge=0)] = 0  # validations without improvement, then the best weights; 0: all steps
    divergence: Annotated[float, Field(ge=0)] = 10.0  # times the median loss that stops a training; 0: never
    skip_steps: tuple[int, ...] = field(default=(), repr=False)  # steps whose batches are passed over
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = 1  # processes on a machine, one a GPU; auto: all its GPUs
    nodes: Annotated[int, Field(ge=1)] = 1  # machines
    loaders: Annotated[int, Field(ge=0)] = field(default=0, repr=False)  # processes that make batches; 0: threads do
    checkpoint_every: int = 200  # steps; a killed training goes on from the last one
    keep_checkpoints: Annotated[int, Field(ge=1)] = field(default=2, repr=False)
    validate_every: int = 200  # steps


@section
class RandomQuantizer:
    """The targets of BEST-RQ: labels of hidden frames under codebooks that are drawn and never trained."""

    codebooks: Annotated[int, Field(ge=1)] = 1
    codebook_size: Annotated[int, Field(ge=2)] = 8192
    code_dim: Annotated[int, Field(ge=1)] = 16
    noise: Annotated[float, Field(ge=0)] = 0.1  # standard deviation of what hidden frames become


@section
class Probe:
    """How well a linear CTC head reads the frozen encoder, beside the same encoder before its pretraining."""

    utterances: Annotated[int, Field(ge=0)] = 200  # labelled, to train on, and at most so many to test on; 0: no probe
    steps: Annotated[int, Field(ge=1)] = 200
    learning_rate: Annotated[float, Field(gt=0)] = 0.01


@section
class Pretraining:
    """Stage 1: self-supervision on all audio that may be trained on."""

    optimisation: Optimisation
    objective: Literal["spectrogram", "best-rq"] = "spectrogram"
    # The specification starts a 10-frame mask at 15 % of the frames and calls it "about 50 %" masked; that masks 80 %.
    # 0.067 gives the intended half: 1 - (1 - 0.067)^10 = 0.50.
    mask_start: Share = 0.067
    mask_span: Annotated[int, Field(ge=1)] = 10  # feature frames
    band_probability: Share = 0.3  # of also masking a band of frequencies, for the objective spectrogram
    band_bins: tuple[int, int] = (5, 10)
    best_rq: RandomQuantizer = field(default_factory=RandomQuantizer)
    probe: Probe = field(default_factory=Probe)

    def __post_init__(self) -> None:
        low, high = self.band_bins
        if not 0 <= low <= high <= 80:
            raise ValueError(f"band_bins must be [fewest, most] of the 80 bins, not {list(self.band_bins)}")


@section
class Distillation:
    """From the model's own floating point to its fake-quantised self, once that is switched on."""

    weight: Annotated[float, Field(ge=0)] = 0.0  # of the divergence beside the CTC loss; 0: none
    temperature: Annotated[float, Field(gt=0)] = 1.0


@section
class Finetuning:
    """Stage 2: CTC with quantisation-aware training."""

    optimisation: Optimisation
    use_pretrained: bool = True
    qat: bool = True
    qat_start: Share = 0.6  # share of the steps trained in floating point first
    weight_bits: Literal[8, 4, 2] = 8  # of the linear layers; 4 and 2 are of the weights alone
    activation_ranges: Literal["moving-average", "learned"] = "moving-average"  # learned: from that average on
    distillation: Distillation = field(default_factory=Distillation)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.distillation.weight and not self.qat:
            raise ValueError("distillation.weight needs qat: true: the student is the fake-quantised model")
        if self.weight_bits != 8 and not self.qat:
            raise ValueError("weight_bits below 8 need qat: true: few bits have to be trained")
        if self.weight_bits != 8 and self.activation_ranges == "learned":
            raise ValueError("activation_ranges: learned needs weight_bits: 8: with fewer, activations are not rounded")


@section
class Calibration:
    """Stage 3: where the activation ranges of the INT8 model come from."""

    ranges: Literal["trained", "minmax", "percentile", "entropy"] = "trained"
    utterances: Annotated[int, Field(ge=1, le=1000)] = 200
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
