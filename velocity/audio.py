"""Waveforms and log-mel features: the one implementation that training, export checks and the light runtime share.

NumPy only, so that a phone-sized installation computes the very same numbers as training did.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from velocity.errors import VelocityError

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples: 25 ms
HOP = 160  # samples: 10 ms, so 100 frames a second
FFT = 512  # points
MEL_BINS = 80
MEL_LOW, MEL_HIGH = 20.0, 7_600.0  # Hz
AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64")
FLOOR = 1e-6  # power floor before the logarithm: about -60 dB below a full-scale bin


class MelSpectrogram(np.ndarray):
    """A (frames, 80) float32 array with ``unsqueeze``, so that code written for tensors runs without torch."""

    def unsqueeze(self, dim: int) -> MelSpectrogram:
        return np.expand_dims(self, dim).view(MelSpectrogram)


def load_audio(path: str | Path, start: float = 0.0, seconds: float | None = None) -> np.ndarray:
    """Read any file soundfile reads as mono 16 kHz: (samples,) float32 in [-1, 1].

    Channels are averaged, other rates resampled by soxr. ``start`` and ``seconds`` take a stretch of the file, and only
    that is decoded; None is up to its end.
    Raises VelocityError when the file is missing, unreadable, empty or holds NaN/Inf.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            if start:
                file.seek(min(round(start * rate), file.frames))
            frames = -1 if seconds is None else round(seconds * rate)
            samples = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        reason = "no such file" if not Path(path).exists() else "a folder" if Path(path).is_dir() else str(error)
        raise VelocityError(f"{path}: cannot be read as audio ({reason.splitlines()[0]})") from error
    if samples.shape[0] == 0:
        raise VelocityError(f"{path}: holds no audio samples")
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise VelocityError(f"{path}: holds samples that are not numbers (NaN or Inf)")
    return resample(mono, rate)


def resample(samples: np.ndarray, rate: float, target: float = SAMPLE_RATE) -> np.ndarray:
    """(samples,) float32 at ``rate`` Hz → (samples·target/rate,) float32 at ``target`` Hz, by soxr."""
    if rate == target:
        return np.ascontiguousarray(samples, dtype=np.float32)
    import soxr

    return soxr.resample(samples, rate, target).astype(np.float32, copy=False)


def frame_count(samples: int) -> int:
    """How many feature frames ``samples`` samples give: one per started hop, centred, at least one."""
    return max(1, -(-samples // HOP))


def compute_mel_spectrogram(samples: np.ndarray) -> MelSpectrogram:
    """Log-mel features of a (samples,) waveform at 16 kHz: (frames, 80) float32, natural logarithm of mel power.

    Frame t is centred on sample t·160; the signal is taken as zero outside itself, so that a frame depends on its
    25 ms alone. Triangular filters of unit height on the HTK mel scale, as in Kaldi.
    """
    samples = np.asarray(samples, dtype=np.float32).reshape(-1)
    frames = frame_count(len(samples))
    padded = np.zeros((frames - 1) * HOP + WINDOW, dtype=np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(samples)] = samples[: len(padded) - WINDOW // 2]
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # (frames, 400)
    features = np.empty((frames, MEL_BINS), dtype=np.float32)
    for start in range(0, frames, 1024):  # blocks keep the spectra in cache and the memory bounded
        block = framed[start : start + 1024] * _window()
        spectrum = _rfft(block)  # (block, 257) complex64
        power = spectrum.real**2 + spectrum.imag**2
        features[start : start + 1024] = np.log(power @ _mel_filters() + FLOOR)
    return features.view(MelSpectrogram)


def _rfft(block: np.ndarray) -> np.ndarray:
    return np.fft.rfft(block, FFT, axis=-1)  # NumPy ≥ 2 transforms float32 in single precision


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    """Periodic Hann window scaled to unit energy: (400,) float32."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return (window / np.sqrt((window**2).sum())).astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    """Triangular filters of unit height, equally spaced on the HTK mel scale: (257, 80) float32."""
    to_mel = lambda hertz: 2595.0 * np.log10(1.0 + hertz / 700.0)  # noqa: E731
    edges = 700.0 * (10.0 ** (np.linspace(to_mel(MEL_LOW), to_mel(MEL_HIGH), MEL_BINS + 2) / 2595.0) - 1.0)
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    rising = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
