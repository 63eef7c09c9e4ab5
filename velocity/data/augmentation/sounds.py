"""Folders of recordings to mix with speech: noises and impulse responses, in any format soundfile reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from velocity.audio import AUDIO_SUFFIXES, resample
from velocity.errors import VelocityError


@dataclass(frozen=True)
class Sound:
    """A recording whose header has been read."""

    path: Path
    frames: int
    rate: int  # Hz

    def read(self, first: int = 0, frames: int = -1) -> np.ndarray:
        """``frames`` of the recording (-1: all) from frame ``first`` on, as mono at 16 kHz: (samples,) float32."""
        import soundfile

        try:
            block = soundfile.read(str(self.path), frames, first, dtype="float32", always_2d=True)[0]
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise VelocityError(f"{self.path}: cannot be decoded; take it out of its folder") from error
        return resample(block.mean(axis=1), self.rate)


def find_sounds(key: str, folder: str) -> list[Sound]:
    """Every recording below ``folder``, in the order of their names; ``key`` is the parameter that names the folder.

    Raises VelocityError when there is no such folder, no audio in it, or a file that is empty or cannot be read.
    """
    import soundfile

    root = Path(folder)
    if not root.is_dir():
        raise VelocityError(f"{key}: {folder}: no such folder")
    paths = [path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()]
    sounds = []
    for path in sorted(paths, key=lambda path: path.relative_to(root).parts):
        try:
            header = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise VelocityError(f"{key}: {path}: cannot be read as audio; take it out of the folder") from error
        if not header.frames:
            raise VelocityError(f"{key}: {path}: holds no audio samples; take it out of the folder")
        sounds.append(Sound(path, header.frames, header.samplerate))
    if not sounds:
        raise VelocityError(f"{key}: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return sounds
