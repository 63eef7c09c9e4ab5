"""Lossy codecs, which leave out what people hardly hear."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.config.section import Share, section
from velocity.data.augmentation import Apply, Effect, in_share
from velocity.data.sounds import fit, peak_scale

# Container, codec, and libsndfile's compression level from mild to strong, at 16 kHz: Opus 32 to 11 kbit/s,
# Vorbis 48 to 28, MP3 38 to 22.
CODECS = {
    "opus": ("OGG", "OPUS", 0.9, 0.98),
    "vorbis": ("OGG", "VORBIS", 0.3, 1.0),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.3, 0.9),
}


@section
class Codec(Effect):
    order, off = 60, {"codec": 0.0}

    codec: Share  # share of the utterances encoded and decoded by one of the codecs
    codecs: tuple[Literal["opus", "vorbis", "mp3"], ...]

    def check(self) -> None:
        if self.codec and not self.codecs:
            raise ValueError("codec is on, but codecs names none")

    def prepare(self, seed: int) -> Apply | None:
        encoded = lambda samples, random: lossy_codec(samples, random.choice(self.codecs), random.random())  # noqa: E731
        return in_share(self.codec, encoded)


def lossy_codec(samples: np.ndarray, name: str, strength: float) -> np.ndarray:
    """Encode and decode in memory; ``strength`` from 0 to 1: (samples,) float32 → (samples,) float32 in place."""
    import soundfile

    container, codec, mild, strong = CODECS[name]
    scale, coded = peak_scale(samples), BytesIO()
    level = mild + (strong - mild) * strength
    soundfile.write(coded, samples * scale, SAMPLE_RATE, format=container, subtype=codec, compression_level=level)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32")
    return fit(decoded, len(samples)) / scale


EFFECT = Codec
