"""A telephone line: 300 to 3400 Hz, 8 kHz, µ-law."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from velocity.audio import SAMPLE_RATE, resample
from velocity.config.section import Share, section
from velocity.data.augmentation import Apply, Effect, in_share
from velocity.data.sounds import fit, peak_scale

TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300.0, 3_400.0)  # Hz
FILTER_TAPS = 401  # at 16 kHz: the filter falls within 130 Hz
MU_LAW_BIAS, MU_LAW_CLIP = 132, 32_635  # of 16-bit samples


@section
class Telephone(Effect):
    order, off = 50, {"telephone": 0.0}

    telephone: Share  # share of the utterances sent over a telephone line

    def prepare(self, seed: int) -> Apply | None:
        return in_share(self.telephone, lambda samples, random: telephone(samples))


def telephone(samples: np.ndarray) -> np.ndarray:
    """300 to 3400 Hz, 8 kHz and 8 bits of µ-law: (samples,) float32 → (samples,) float32, in place and in level."""
    from scipy.signal import oaconvolve

    scale = peak_scale(samples)
    band = oaconvolve(samples * scale, _telephone_filter(), mode="same")
    line = expand_mu_law(compress_mu_law(resample(band, SAMPLE_RATE, TELEPHONE_RATE)))
    return fit(resample(line, TELEPHONE_RATE), len(samples)) / scale


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


EFFECT = Telephone
