"""Additive noise at a signal-to-noise ratio: generated, or from a folder of recordings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.config.section import Share, section
from velocity.data.augmentation import Apply, Effect, in_share
from velocity.data.sounds import Sound, find_sounds

DrawNoise = Callable[[int, np.random.Generator], np.ndarray]


@section
class Noise(Effect):
    order, off = 30, {"noise": 0.0}

    noise: Share  # share of the utterances that get noise
    noise_source: str | None  # a folder of recordings; without one, noise is generated, white to pink
    noise_snr_db: tuple[float, float]

    def check(self) -> None:
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError(f"noise_snr_db must be [low, high] in dB, not {list(self.noise_snr_db)}")

    def prepare(self, seed: int) -> Apply | None:
        draw = noise_from(self.noise_source) if self.noise else generate_noise

        def add(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
            snr_db = random.uniform(*self.noise_snr_db)
            return add_noise(samples, draw(len(samples), random), snr_db)

        return in_share(self.noise, add)


def noise_from(folder: str | None) -> DrawNoise:
    """A function (length, generator) → (length,) float32: from the recordings below a folder, or else generated.

    Raises VelocityError when the folder is missing or holds no audio.
    """
    if folder is None:
        return generate_noise
    sounds = find_sounds("finetune.augmentation.noise_source", folder)
    return lambda length, random: excerpt(sounds[random.integers(len(sounds))], length, random)


def generate_noise(length: int, random: np.random.Generator) -> np.ndarray:
    """Noise whose power falls as 1/f^β, β drawn from 0 (white) to 1.5: (length,) float32."""
    padded = 1 << (length - 1).bit_length()  # a power of two: transforms of prime lengths take ten times as long
    spectrum = np.fft.rfft(random.standard_normal(padded, dtype=np.float32))
    slope = random.uniform(0.0, 1.5)
    frequency = np.maximum(np.arange(len(spectrum)), len(spectrum) * 20 / (SAMPLE_RATE / 2))  # flat below 20 Hz
    shape = (frequency ** (-slope / 2)).astype(np.float32)
    return np.fft.irfft(spectrum * shape, padded)[:length]


def excerpt(sound: Sound, length: int, random: np.random.Generator) -> np.ndarray:
    """``length`` samples from a drawn place of a recording on, which begins anew where it ends: (length,) float32."""
    needed = -(-length * sound.rate // SAMPLE_RATE) + 1  # frames; one more than rounding could take away
    first = int(random.integers(max(1, sound.frames - needed + 1)))
    if sound.frames >= needed:
        return sound.read(first, needed)[:length]
    start = int(random.integers(sound.frames)) * SAMPLE_RATE // sound.rate
    return sound.read().take(np.arange(start, start + length), mode="wrap")


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech plus noise of the same length, scaled to a ratio of their mean powers in dB."""
    power = lambda signal: float(np.mean(signal**2)) + 1e-12  # noqa: E731
    return samples + noise * np.float32(np.sqrt(power(samples) / power(noise) / 10 ** (snr_db / 10)))


EFFECT = Noise
