"""Decoding by libsndfile, of the parts that a file really has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from velocity.errors import VelocityError
from velocity.reading.blocks import BLOCK, conformed, stretch
from velocity.reading.containers import Part, mpeg_parts, parts
from velocity.reading.spans import Spans

UNKNOWN_LENGTH = 1 << 62  # frames: libsndfile's value for a stream of unknown length
ROUNDING = 0.02  # seconds that may be missing without a remark


class SndfileRecording:
    """A ``Recording``. ``rate`` and ``channels`` are those of its first part."""

    def __init__(self, file: BinaryIO, path: str | Path, name: str, seeking: bool) -> None:
        """``file`` is ``path``, open, and is closed with the recording. Raises what libsndfile and the system raise."""
        self._file, self._path, self._name, self._seeking = file, path, name, seeking
        self.missing, self.remark = 0.0, None
        known = parts(file)
        self._parts = known or [Part(0, os.path.getsize(path))]
        self._decoder = self._open(self._parts[0])  # of the part that is being decoded
        if not known and self._decoder.format == "MP3" and (found := mpeg_parts(file)):
            self._decoder.close()  # libsndfile has skipped something at the beginning
            self._parts = found
            self._decoder = self._open(found[0])
        self.rate, self.channels = self._decoder.samplerate, self._decoder.channels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()
        self._file.close()

    def _open(self, part: Part) -> Any:
        """A SoundFile of one part; of the file itself where that is enough, as Python's reading takes longer."""
        if self._whole(part) and (not part.pieces or self._seeking):
            return _forward()(os.fsencode(self._path))
        return _forward()(Spans(self._file, part.pieces or [(part.start, part.end)], part.endless))

    def _whole(self, part: Part) -> bool:
        return len(self._parts) == 1 and part.start == 0 and part.seekable

    @property
    def frames(self) -> int:
        total = 0.0
        for part in self._parts:
            if not part.frames and part is self._parts[0]:
                part.frames, part.rate = self._decoder.frames, self.rate
            elif not part.frames:
                try:
                    with self._open(part) as decoder:
                        part.frames, part.rate = decoder.frames, decoder.samplerate
                except _refusals():
                    return 0
            if part.frames >= UNKNOWN_LENGTH:
                return 0
            total += part.frames * self.rate / part.rate
        return round(total)

    def blocks(self, first: int = 0, frames: int | None = None) -> Iterator[np.ndarray]:
        try:
            if self._seeking and self._whole(self._parts[0]):
                self._decoder.seek(min(first, self._decoder.frames))
                yield from self._read(self._decoder.frames if frames is None else frames)
            elif first or frames is not None:
                yield from stretch(self._all(), first, frames)
            else:
                yield from self._all()
        except _refusals() as error:
            raise VelocityError(f"{self._name}: cannot be read as audio ({reason(error)})") from error

    def _read(self, frames: int) -> Iterator[np.ndarray]:
        decoder = self._decoder
        block = np.empty((max(1, BLOCK // decoder.channels), decoder.channels), dtype=np.float32)
        full = True
        while full and frames > 0:
            samples = decoder.read(out=block[: min(len(block), frames)])
            full = len(samples) == min(len(block), frames)
            frames -= len(samples)
            if len(samples):
                yield samples

    def _all(self) -> Iterator[np.ndarray]:
        """Every part to its end, with the rate and the channels of the first one."""
        seconds, missing, open_end = 0.0, 0.0, False
        for part in self._parts:
            if part is not self._parts[0]:
                self._decoder.close()
                self._decoder = self._open(part)
            own, read = (self._decoder.samplerate, self._decoder.channels), 0
            for block in conformed(self._counted(part), own, (self.rate, self.channels)):
                read += len(block)
                yield block
            seconds += read / self.rate
            missing += part.missing * read / self.rate
            open_end |= part.open_end
        self.missing = missing
        self.remark = remark(seconds, missing, open_end)

    def _counted(self, part: Part) -> Iterator[np.ndarray]:
        """The blocks of one part, in its own rate and channels, which must be as many as its header says."""
        rate, read = self._decoder.samplerate, 0
        promised = 0 if part.counted else part.frames or self._decoder.frames
        try:
            for block in stretch(self._read(self._decoder.frames), part.skip):
                read += len(block)
                yield block
        except _refusals() as error:
            if not promised or promised >= UNKNOWN_LENGTH:
                raise
            if read < promised:
                end = f"{promised / rate:.1f} s"
                message = f"cut off or damaged before its end at {end} ({reason(error)})"
                raise VelocityError(f"{self._name}: {message}") from error
        if read < promised < UNKNOWN_LENGTH and self._decoder.format != "MP3":
            message = f"cut off after {read / rate:.1f} s of {promised / rate:.1f} s"
            raise VelocityError(f"{self._name}: {message}")


def remark(seconds: float, missing: float, open_end: bool) -> str | None:
    """What is to be said of a recording of ``seconds`` that is taken all the same."""
    if missing > ROUNDING:
        return f"cut off after {seconds:.1f} s of {seconds + missing:.1f} s; what is there is used"
    return "does not end as its format does: it may be cut off" if open_end else None


def reason(error: Exception) -> str:
    """What libsndfile, or the system, gives as the reason, on a line and without the name of the file."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0]


@lru_cache(maxsize=1)
def _refusals() -> tuple[type[Exception], ...]:
    import soundfile

    return soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError


@lru_cache(maxsize=1)
def _forward() -> type:
    import soundfile

    class Forward(soundfile.SoundFile):
        """Reads sequentially: soundfile's own read also seeks, which fails for a stream of unknown length."""

        def seekable(self) -> bool:
            return False

    return Forward
