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
    steps: int
    batch_seconds: float = 120.0
    learning_rate: float = 0.001
    warmup: float = 0.1  # share of the steps
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checkpoint_every: int = 200  # steps; a killed training goes on from the last one
    validate_every: int = 200  # steps


@section
class Pretraining:
    """Stage 1: masked-spectrogram prediction."""

    optimisation: Optimisation
    # The specification starts a 10-frame mask at 15 % of the frames and calls it "about 50 %" masked; that masks 80 %.
    # 0.067 gives the intended half: 1 - (1 - 0.067)^10 = 0.50.
    mask_start: float = 0.067
    mask_span: int = 10  # feature frames
    band_probability: float = 0.3  # of also masking a band of frequencies
    band_bins: tuple[int, int] = (5, 10)


@section
class Finetuning:
    """Stage 2: CTC with INT8 quantisation-aware training."""

    optimisation: Optimisation
    use_pretrained: bool = True
    qat: bool = True
    qat_start: float = 0.6  # share of the steps trained in floating point first
    augmentation: Augmentation = field(default_factory=Augmentation)


@section
class Calibration:
    """Stage 3: where the activation ranges of the INT8 model come from."""

    ranges: Literal["trained", "minmax", "percentile"] = "trained"
    utterances: int = 200
    percentile: float = 99.99
