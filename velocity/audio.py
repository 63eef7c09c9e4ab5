"""Waveforms and log-mel features: one implementation for training, export checks and the light runtime.

NumPy only, so that a light installation computes exactly the same numbers as training.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from velocity.errors import VelocityError

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms, so 100 frames a second
FFT = 512  # points
MEL_BINS = 80
MEL_LOW, MEL_HIGH = 20.0, 7_600.0  # Hz
AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64")
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz: a damaged header could otherwise turn a few bytes into gigabytes
LOUDEST = 1e9  # full scale is 1; integers stored as floats stay below this, and their power is finite
RATES = f"{LOWEST_RATE} to {HIGHEST_RATE} Hz"
BLOCK = 1 << 17  # samples of all channels together, read at a time
UNKNOWN_LENGTH = 1 << 62  # frames: libsndfile's value for a stream of unknown length
MOST_FRAMES = 1024  # frames whose power spectra are in memory at a time
# Frames transformed at a time. A few frames fit the cache, and memory that the allocator keeps; it returns larger
# blocks to the system, which then clears every page again. That took most of the time.
TRANSFORMED = 64
FLOOR = 1e-10  # power floor before the logarithm, below the rounding of 16-bit samples


class MelSpectrogram(np.ndarray):
    """A (frames, 80) float32 array with ``unsqueeze``, so that code for tensors runs without torch."""

    def unsqueeze(self, dim: int) -> MelSpectrogram:
        return np.expand_dims(self, dim).view(MelSpectrogram)


def load_audio(path: str | Path, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Read any file soundfile reads as mono 16 kHz: (samples,) float32 in [-1, 1].

    Channels are averaged, other rates resampled by soxr. ``start`` and ``seconds`` select a part of the file, and only
    that is decoded; None means up to the end.
    Raises VelocityError when the file is missing, unreadable, truncated or empty, or contains NaN or Inf.
    """
    blocks = list(read_blocks(path, start, seconds))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(path: str | Path, start: float = 0.0, seconds: float | None = None) -> Iterator[np.ndarray]:
    """Yield the samples of ``load_audio`` in blocks of a few seconds: (samples,) float32, none empty.

    Memory is that of one block, whatever the file's length and whatever length its header claims.
    """
    import soundfile

    class Forward(soundfile.SoundFile):
        """Reads sequentially: soundfile's own read also seeks, which fails for a stream of unknown length."""

        def seekable(self) -> bool:
            return False

    name = printable(path)
    try:
        _check_is_file(path)
        with Forward(os.fsencode(path)) as file:
            rate, claimed = file.samplerate, file.frames
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise VelocityError(f"{name}: a sample rate of {rate} Hz; speech has {RATES}")
            if start:
                file.seek(min(round(start * rate), claimed))
            frames = claimed if seconds is None else round(seconds * rate)
            read, yielded = yield from _blocks(file, rate, frames, name)
            if yielded == 0:
                raise VelocityError(f"{name}: holds no audio samples")
            # libsndfile only estimates the length of an MP3.
            if seconds is None and not start and read < claimed < UNKNOWN_LENGTH and file.format != "MP3":
                raise VelocityError(f"{name}: cut off after {read / rate:.1f} s of {claimed / rate:.1f} s")
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"Error opening {os.fsencode(path)!r}: ")
        raise VelocityError(f"{name}: cannot be read as audio ({reason})") from error


def _blocks(file: Any, rate: int, frames: int, name: str) -> Generator[np.ndarray, None, tuple[int, int]]:
    """Yield up to ``frames`` frames of an open file as mono blocks at 16 kHz; return (frames read, samples yielded)."""
    resampler = None
    if rate != SAMPLE_RATE:
        import soxr

        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    block = np.empty((max(1, BLOCK // file.channels), file.channels), dtype=np.float32)
    read, yielded, full = 0, 0, True
    while full:
        size = min(len(block), frames - read)
        samples = file.read(out=block[:size])
        read += len(samples)
        full = len(samples) == size and read < frames
        mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0].copy()
        if not (np.abs(mono) < LOUDEST).all():
            raise VelocityError(f"{name}: holds samples that are not numbers (NaN or Inf) or beyond {LOUDEST:g}")
        if resampler is not None:
            mono = resampler.resample_chunk(mono, last=not full)
        if len(mono):
            yielded += len(mono)
            yield mono
    return read, yielded


def claimed_seconds(path: str | Path) -> float:
    """The length in a file's header, for a progress bar; 0 if there is none or it cannot be read."""
    import soundfile

    try:
        _check_is_file(path)
        with soundfile.SoundFile(os.fsencode(path)) as file:
            return file.frames / file.samplerate if file.frames < UNKNOWN_LENGTH else 0.0
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _check_is_file(path: str | Path) -> None:
    """Raise OSError, with a better reason than the reader's, for anything that would block or never end."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise OSError("no such file") from None
    if stat.S_ISDIR(mode):
        raise OSError("a folder")
    if not stat.S_ISREG(mode):
        raise OSError("a device or a pipe, not a file")
    if not os.access(path, os.R_OK):
        raise OSError("no permission to read it")


def printable(path: str | Path) -> str:
    """``path`` on one line of valid text; unprintable characters are escaped as in Python."""
    escape = lambda c: c.encode("unicode_escape").decode()  # noqa: E731
    return "".join(c if c.isprintable() else escape(c) for c in str(path))


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
    samples = np.asarray(samples, dtype=np.float32).reshape(-1)
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
