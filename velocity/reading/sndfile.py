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
        known, self._size = parts(file), file.seek(0, 2)
        self._parts = known or [Part(0, self._size)]
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
        """A SoundFile of one part; of the file itself where that is the same, as Python's reading takes longer."""
        if not part.pieces and (part.start, part.end) == (0, self._size):
            return _forward()(os.fsencode(self._path))
        return _forward()(Spans(self._file, part.pieces or [(part.start, part.end)], part.endless))

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
            if self._seeking and len(self._parts) == 1 and self._parts[0].seekable:
                yield from self._stretch(self._parts[0], first, frames)
            elif first or frames is not None:
                yield from stretch(self._all(), first, frames)
            else:
                yield from self._all()
        except _refusals() as error:
            raise VelocityError(f"{self._name}: cannot be read as audio ({reason(error)})") from error

    def _stretch(self, part: Part, first: int, frames: int | None) -> Iterator[np.ndarray]:
        """``frames`` frames (None: all) of the only part from frame ``first`` on; what lies before is not decoded."""
        try:
            self._decoder.seek(min(first, self._decoder.frames))
        except _refusals():
            if first < (self._promised(part) or UNKNOWN_LENGTH):
                raise
            return  # the end of a FLAC, which its decoder is not told, lies before
        yield from self._read(part, first, frames)

    def _promised(self, part: Part) -> int:
        """Frames by the header; 0 if it has none, or an estimate."""
        promised = 0 if part.counted else part.frames or self._decoder.frames
        return promised if promised < UNKNOWN_LENGTH else 0

    def _read(self, part: Part, place: int = 0, frames: int | None = None) -> Iterator[np.ndarray]:
        """``frames`` frames (None: all) from frame ``place`` on, where the decoder is.

        A block ends where the header ends the audio. If not even one frame can be decoded there, the header is right,
        and a tag or padding follows.
        """
        decoder, promised = self._decoder, self._promised(part)
        left = UNKNOWN_LENGTH if frames is None else frames
        block = np.empty((max(1, BLOCK // decoder.channels), decoder.channels), dtype=np.float32)
        try:
            while left > 0:
                size = min(len(block), left)
                if place <= promised > 0:
                    size = min(size, max(1, promised - place))
                samples = decoder.read(out=block[:size])
                if len(samples):
                    yield samples
                if len(samples) < size:
                    return
                place, left = place + size, left - size
        except _refusals():
            if not place == promised > 0:
                raise
            part.open_end = True

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
        rate, promised, read = self._decoder.samplerate, self._promised(part), 0
        try:
            for block in stretch(self._read(part), part.skip):
                read += len(block)
                yield block
        except _refusals() as error:
            if read >= promised:
                raise
            message = f"cut off or damaged before its end at {promised / rate:.1f} s ({reason(error)})"
            raise VelocityError(f"{self._name}: {message}") from error
        if read < promised and self._decoder.format != "MP3":
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
