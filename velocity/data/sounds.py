"""What effects share: folders of recordings to mix with speech, in any format that is read; peaks and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from velocity.audio import load_audio
from velocity.errors import VelocityError
from velocity.files import walk
from velocity.reading.names import AUDIO_SUFFIXES, is_audio
from velocity.reading.recording import read_header

HEADROOM = 0.9  # of full scale: codecs overshoot, and clip what does


@dataclass(frozen=True)
class Sound:
    """A recording whose header has been read."""

    path: Path
    frames: int
    rate: int  # Hz

    def read(self, first: int = 0, frames: int = -1) -> np.ndarray:
        """``frames`` of the recording (-1: all) from frame ``first`` on, as mono at 16 kHz: (samples,) float32."""
        try:
            return load_audio(self.path, first / self.rate, None if frames < 0 else frames / self.rate)
        except VelocityError as error:
            raise VelocityError(f"{error}; remove it from its folder") from error


def find_sounds(key: str, folder: str) -> list[Sound]:
    """Every recording below ``folder``, in the order of their names; ``key`` is the parameter that names the folder.

    Raises VelocityError when there is no such folder, no audio in it, or a file that is empty or cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise VelocityError(f"{key}: {folder}: no such folder")
    paths = [path for path in walk(root) if is_audio(path)]
    sounds = []
    for path in sorted(paths, key=lambda path: path.relative_to(root).parts):
        try:
            header = read_header(path)
        except VelocityError as error:
            raise VelocityError(f"{key}: {error}; remove it from the folder") from error
        sounds.append(Sound(path, header.frames, header.rate))
    if not sounds:
        raise VelocityError(f"{key}: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return sounds


def peak_scale(samples: np.ndarray) -> np.float32:
    """What brings a louder peak down to the headroom: nothing is clipped on the way."""
    return np.float32(min(1.0, HEADROOM / max(HEADROOM, float(np.abs(samples).max()))))


def fit(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut, or padded with zeros, to ``length``."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
