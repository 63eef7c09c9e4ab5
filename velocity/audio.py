"""Waveforms and log-mel features: one implementation for training, export checks and the light runtime.

NumPy only, so that a light installation computes exactly the same numbers as training.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from velocity.errors import VelocityError, VelocityWarning
from velocity.reading.arrays import LOUDEST, is_sound, scaled
from velocity.reading.downmix import CANCEL, Downmix
from velocity.reading.recording import Source, as_path, open_recording

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms, so 100 frames a second
FFT = 512  # points
MEL_BINS = 80
MEL_LOW, MEL_HIGH = 20.0, 7_600.0  # Hz
MOST_FRAMES = 1024  # frames whose power spectra are in memory at a time
# Frames transformed at a time. A few frames fit the cache, and memory that the allocator keeps; it returns larger
# blocks to the system, which then clears every page again. That took most of the time.
TRANSFORMED = 64
FLOOR = 1e-10  # power floor before the logarithm, below the rounding of 16-bit samples


class MelSpectrogram(np.ndarray):
    """A (frames, 80) float32 array with ``unsqueeze``, so that code for tensors runs without torch."""

    def unsqueeze(self, dim: int) -> MelSpectrogram:
        return np.expand_dims(self, dim).view(MelSpectrogram)


def load_audio(source: Source, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Read an audio file as mono 16 kHz: (samples,) float32 in [-1, 1].

    ``source`` is a path, an open binary file or its bytes. Channels are averaged, or where that cancels them the
    strongest one is taken; other rates are resampled by soxr. ``start`` and ``seconds`` select a part of the file, and
    only that is decoded; None means up to the end.
    Raises VelocityError when the file is missing, unreadable, damaged or empty, or contains NaN or Inf. Warns
    (VelocityWarning) where it is cut off and what is there can be read, and where channels cancel.
    """
    blocks = list(read_blocks(source, start, seconds))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(
    source: Source, start: float = 0.0, seconds: float | None = None, name: str | None = None
) -> Iterator[np.ndarray]:
    """Yield the samples of ``load_audio`` in blocks of a few seconds: (samples,) float32, none empty.

    ``name``: what errors and warnings call the file. Memory is that of one block, whatever the file's length and
    whatever length its header claims.
    """
    stretch = bool(start) or seconds is not None
    with as_path(source, name) as (path, name), open_recording(path, stretch, name) as recording:
        rate = recording.rate
        downmix, resampler, yielded = Downmix(rate), None, 0
        if rate != SAMPLE_RATE:
            import soxr

            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        for block in recording.blocks(round(start * rate), None if seconds is None else round(seconds * rate)):
            if not is_sound(block):
                raise VelocityError(f"{name}: holds samples that are not numbers (NaN or Inf) or beyond {LOUDEST:g}")
            mono = downmix(block)
            if resampler is not None:
                mono = resampler.resample_chunk(mono)
            if len(mono):
                yielded += len(mono)
                yield mono
        if resampler is not None and len(rest := resampler.resample_chunk(np.empty(0, np.float32), last=True)):
            yielded += len(rest)
            yield rest
        if yielded == 0:
            raise VelocityError(f"{name}: holds no audio samples")
        if recording.remark and not stretch:
            warnings.warn(f"{name}: {recording.remark}", VelocityWarning, stacklevel=2)
        if downmix.cancelled:
            warnings.warn(f"{name}: {CANCEL}", VelocityWarning, stacklevel=2)


def claimed_seconds(path: str | Path) -> float:
    """The length of a file as far as it is known without decoding it, for a progress bar; 0 if it is not, or cannot be
    read."""
    try:
        with open_recording(path) as recording:
            return recording.frames / recording.rate
    except VelocityError:
        return 0.0


def resample(samples: np.ndarray, rate: float, target: float = SAMPLE_RATE) -> np.ndarray:
    """(samples,) float32 at ``rate`` Hz → (samples·target/rate,) float32 at ``target`` Hz, by soxr."""
    if rate == target:
        return np.ascontiguousarray(samples, dtype=np.float32)
    import soxr

    return soxr.resample(samples, rate, target).astype(np.float32, copy=False)


def frame_count(samples: int) -> int:
    """The number of feature frames of ``samples`` samples: one per started hop, centred, at least one."""
    return max(1, -(-samples // HOP))


def compute_mel_spectrogram(samples: np.ndarray) -> MelSpectrogram:
    """Log-mel features of a (samples,) waveform at 16 kHz: (frames, 80) float32, natural logarithm of mel power.

    Frame t is centred on sample t·160; outside its bounds the signal is zero, so that a frame depends on its 25 ms
    only. Triangular filters of unit height on the HTK mel scale, as in Kaldi.
    """
    samples = np.asarray(samples)
    samples = (scaled(samples) if samples.dtype.kind in "iu" else samples.astype(np.float32, copy=False)).reshape(-1)
    frames = frame_count(len(samples))
    padded = np.zeros((frames - 1) * HOP + WINDOW, dtype=np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(samples)] = samples[: len(padded) - WINDOW // 2]
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # (frames, 400)
    features = np.empty((frames, MEL_BINS), dtype=np.float32)
    power = np.empty((min(frames, MOST_FRAMES), FFT // 2 + 1), dtype=np.float32)
    for start in range(0, frames, MOST_FRAMES):
        block = framed[start : start + MOST_FRAMES]
        for first in range(0, len(block), TRANSFORMED):
            few = slice(first, first + TRANSFORMED)
            spectrum = _rfft(block[few] * window())  # (≤ 64, 257) complex64
            power[: len(block)][few] = spectrum.real**2 + spectrum.imag**2
        np.matmul(power[: len(block)], mel_filters(), out=features[start : start + MOST_FRAMES])
    features += FLOOR
    np.log(features, out=features)
    return features.view(MelSpectrogram)


def _rfft(block: np.ndarray) -> np.ndarray:
    return np.fft.rfft(block, FFT, axis=-1)  # NumPy ≥ 2 transforms float32 in single precision


@lru_cache(maxsize=1)
def window() -> np.ndarray:
    """Periodic Hann window scaled to unit energy: (400,) float32."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return (window / np.sqrt((window**2).sum())).astype(np.float32)


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """Triangular filters of unit height, equally spaced on the HTK mel scale: (257, 80) float32."""
    to_mel = lambda hertz: 2595.0 * np.log10(1.0 + hertz / 700.0)  # noqa: E731
    edges = 700.0 * (10.0 ** (np.linspace(to_mel(MEL_LOW), to_mel(MEL_HIGH), MEL_BINS + 2) / 2595.0) - 1.0)
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
