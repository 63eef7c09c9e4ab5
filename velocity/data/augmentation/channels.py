"""What a line does to speech: the band of a telephone, and codecs that leave out what people hardly hear."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np

from velocity.audio import SAMPLE_RATE, resample

TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_TAPS = 401  # at 16 kHz: the filter falls within 130 Hz
MU_LAW_BIAS, MU_LAW_CLIP = 132, 32_635  # of 16-bit samples
HEADROOM = 0.9  # of full scale: codecs overshoot, and clip what does
# Container, codec, and libsndfile's compression level from mild to strong, at 16 kHz: Opus 32 to 11 kbit/s,
# Vorbis 48 to 28, MP3 38 to 22.
CODECS = {
    "opus": ("OGG", "OPUS", 0.9, 0.98),
    "vorbis": ("OGG", "VORBIS", 0.3, 1.0),
    "mp3": ("MP3", "MPEG_LAYER_III", 0.3, 0.9),
}


def telephone(samples: np.ndarray) -> np.ndarray:
    """300 to 3400 Hz, 8 kHz and 8 bits of µ-law: (samples,) float32 → (samples,) float32, in place and in level."""
    from scipy.signal import oaconvolve

    scale = _peak_scale(samples)
    band = oaconvolve(samples * scale, _telephone_filter(), mode="same")
    line = expand_mu_law(compress_mu_law(resample(band, SAMPLE_RATE, TELEPHONE_RATE)))
    return _fit(resample(line, TELEPHONE_RATE), len(samples)) / scale


@lru_cache(maxsize=1)
def _telephone_filter() -> np.ndarray:
    """A symmetric band-pass, so that nothing is delayed: (401,) float32."""
    from scipy.signal import firwin

    low, high = TELEPHONE_BAND
    return firwin(FILTER_TAPS, (low - 50, high + 50), pass_zero=False, fs=SAMPLE_RATE).astype(np.float32)


def compress_mu_law(samples: np.ndarray) -> np.ndarray:
    """ITU-T G.711 µ-law: float32 in [-1, 1] → uint8 codes, by sign, eight segments of doubling width, four bits."""
    pcm = np.rint(samples * 32_768).astype(np.int32)
    magnitude = np.minimum(np.abs(pcm), MU_LAW_CLIP) + MU_LAW_BIAS
    segment = np.frexp(magnitude.astype(np.float32))[1] - 8  # 0 to 7
    step = (magnitude >> (segment + 3)) & 15
    return (~((pcm < 0) << 7 | segment << 4 | step)).astype(np.uint8)


def expand_mu_law(codes: np.ndarray) -> np.ndarray:
    """uint8 codes of ITU-T G.711 µ-law → float32 in [-1, 1]."""
    flipped = (~codes).astype(np.int32)
    segment, step = flipped >> 4 & 7, flipped & 15
    magnitude = ((step * 8 + MU_LAW_BIAS) << segment) - MU_LAW_BIAS
    return (np.where(flipped & 128, -magnitude, magnitude) / 32_768).astype(np.float32)


def lossy_codec(samples: np.ndarray, name: str, strength: float) -> np.ndarray:
    """Encode and decode in memory; ``strength`` from 0 to 1: (samples,) float32 → (samples,) float32 in place."""
    import soundfile

    container, codec, mild, strong = CODECS[name]
    scale, coded = _peak_scale(samples), BytesIO()
    level = mild + (strong - mild) * strength
    soundfile.write(coded, samples * scale, SAMPLE_RATE, format=container, subtype=codec, compression_level=level)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32")
    return _fit(decoded, len(samples)) / scale


def _peak_scale(samples: np.ndarray) -> np.float32:
    """What brings a louder peak down to the headroom: nothing is clipped on the way."""
    return np.float32(min(1.0, HEADROOM / max(HEADROOM, float(np.abs(samples).max()))))


def _fit(samples: np.ndarray, length: int) -> np.ndarray:
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
