"""The section ``finetune.augmentation``."""

from __future__ import annotations

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
