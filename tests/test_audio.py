"""Audio and features against independent computations, and the faults that real files have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import get_window

from velocity.audio import (
    FLOOR,
    HOP,
    MEL_BINS,
    MEL_HIGH,
    MEL_LOW,
    SAMPLE_RATE,
    WINDOW,
    compute_mel_spectrogram,
    frame_count,
    load_audio,
    resample,
)


def reference_mel(samples: np.ndarray) -> np.ndarray:
    """The definition, frame by frame and bin by bin, in float64 and with another library's window and transform."""
    window = get_window("hann", WINDOW)
    window = window / np.sqrt(np.sum(window**2))
    low, high = (1127.01048 * np.log(1 + hertz / 700) for hertz in (MEL_LOW, MEL_HIGH))
    edges = [700 * (np.exp(mel / 1127.01048) - 1) for mel in np.linspace(low, high, MEL_BINS + 2)]
    padded = np.concatenate([np.zeros(WINDOW // 2), samples.astype(np.float64), np.zeros(WINDOW + HOP)])
    hertz = np.arange(257) * SAMPLE_RATE / 512
    phase = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(WINDOW)) / 512)
    rows = []
    for start in range(0, max(len(samples), 1), HOP):
        power = np.abs(phase @ (window * padded[start : start + WINDOW])) ** 2
        row = [
            np.interp(hertz, edges[mel : mel + 3], [0.0, 1.0, 0.0], left=0.0, right=0.0) @ power
            for mel in range(MEL_BINS)
        ]
        rows.append(np.log(np.array(row) + FLOOR))
    return np.array(rows)


@pytest.mark.parametrize("count", [1, 159, 160, 161, 399, 5000, 16_037])
def test_mel_is_its_definition(count: int) -> None:
    random = np.random.default_rng(count)
    time = np.arange(count) / SAMPLE_RATE
    samples = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * random.standard_normal(count)
    expected = reference_mel(samples.astype(np.float32))
    mel = compute_mel_spectrogram(samples)
    assert mel.shape == expected.shape == (frame_count(count), MEL_BINS)
    assert mel.dtype == np.float32
    assert np.abs(np.asarray(mel) - expected).max() <= 1e-4


def test_long_audio_is_computed_as_short_audio_is() -> None:
    samples = np.random.default_rng(0).standard_normal(1500 * HOP).astype(np.float32)  # more than one block of frames
    whole = compute_mel_spectrogram(samples)
    part = compute_mel_spectrogram(samples[900 * HOP : 1200 * HOP])
    assert np.allclose(whole[902:1198], part[2:298], atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone_and_its_length(rate: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    there = resample(tone, rate)
    assert abs(len(there) - SAMPLE_RATE) <= 1
    expected = np.sin(2 * np.pi * 1000 * np.arange(len(there)) / SAMPLE_RATE)
    assert np.abs(there - expected)[800:-800].max() < 1e-3


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "aiff"])
def test_formats_channels_and_rates(tmp_path: Path, suffix: str) -> None:
    time = np.arange(22_050) / 22_050
    left = 0.5 * np.sin(2 * np.pi * 300 * time)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), 22_050)
    samples = load_audio(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - SAMPLE_RATE) <= 1
    assert abs(np.abs(samples[1000:-1000]).max() - 0.25) < 0.01  # the mean of both channels


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".ogg"])
@pytest.mark.parametrize(("start", "seconds"), [(0.0, None), (0.0, 0.5), (0.3, 0.4), (0.7, 9.0), (0.25, None)])
def test_a_stretch_of_a_file_is_that_stretch_of_the_whole(tmp_path, suffix, start, seconds):
    path = tmp_path / f"noise{suffix}"
    soundfile.write(path, np.random.default_rng(3).uniform(-0.5, 0.5, 16_000).astype(np.float32), 16_000)
    end = None if seconds is None else round((start + seconds) * 16_000)
    np.testing.assert_array_equal(load_audio(path, start, seconds), load_audio(path)[round(start * 16_000) : end])
