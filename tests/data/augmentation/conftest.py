"""What the tests of augmentation listen to."""

import numpy as np
import pytest

from velocity.audio import SAMPLE_RATE


@pytest.fixture(scope="session")
def speech():
    """4 s with the long-term spectrum and the syllables of speech: (64000,) float32, peak about 0.5."""
    random = np.random.default_rng(5)
    spectrum = np.fft.rfft(random.standard_normal(4 * SAMPLE_RATE))
    hertz = np.fft.rfftfreq(4 * SAMPLE_RATE, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / (1 + (hertz / 500) ** 2) * (hertz > 80))
    samples = noise * (0.52 + 0.48 * np.sin(2 * np.pi * 4 * np.arange(len(noise)) / SAMPLE_RATE))
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)
