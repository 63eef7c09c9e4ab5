"""Training-time distortions of waveforms and features; each draws from the generator it is handed."""

from __future__ import annotations

import numpy as np

from velocity.audio import MEL_BINS, SAMPLE_RATE, resample
from velocity.config import Augmentation


def distort(samples: np.ndarray, settings: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Speed, level and noise: (samples,) float32 at 16 kHz → (samples',) float32.

    Speed perturbation resamples, so pitch moves with tempo (Ko et al. 2015).
    """
    speed = random.choice(settings.speeds)
    samples = resample(samples, SAMPLE_RATE * speed)
    if settings.noise and random.random() < settings.noise:
        samples = add_noise(samples, random.uniform(*settings.noise_snr_db), random)
    if settings.gain_db:
        samples = samples * np.float32(10 ** (random.uniform(-settings.gain_db, settings.gain_db) / 20))
    return samples


def add_noise(samples: np.ndarray, snr_db: float, random: np.random.Generator) -> np.ndarray:
    """Add noise whose power falls as 1/f^β, β from 0 (white) to 1.5, at a signal-to-noise ratio in dB."""
    length = 1 << (len(samples) - 1).bit_length()  # a power of two: transforms of prime lengths take ten times as long
    spectrum = np.fft.rfft(random.standard_normal(length, dtype=np.float32))
    slope = random.uniform(0.0, 1.5)
    frequency = np.maximum(np.arange(len(spectrum)), len(spectrum) * 20 / (SAMPLE_RATE / 2))  # flat below 20 Hz
    shape = (frequency ** (-slope / 2)).astype(np.float32)
    noise = np.fft.irfft(spectrum * shape, length)[: len(samples)]
    power = lambda signal: float(np.mean(signal**2)) + 1e-12  # noqa: E731
    return samples + noise * np.float32(np.sqrt(power(samples) / power(noise) / 10 ** (snr_db / 10)))


def mask_features(
    features: np.ndarray, settings: Augmentation, fill: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """SpecAugment's time and frequency masks (Park et al. 2019) on (frames, 80); masked places take ``fill`` (80,)."""
    features = np.array(features)
    frames = len(features)
    longest = int(frames * settings.time_mask_share)
    for _ in range(settings.time_masks):
        width = int(random.integers(0, longest + 1))
        start = int(random.integers(0, frames - width + 1))
        features[start : start + width] = fill
    for _ in range(settings.frequency_masks):
        width = int(random.integers(0, settings.frequency_mask_bins + 1))
        low = int(random.integers(0, MEL_BINS - width + 1))
        features[:, low : low + width] = fill[low : low + width]
    return features
