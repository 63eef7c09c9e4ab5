"""An audio file, decoded to its true end: by libsndfile, or by FFmpeg where libsndfile does not know the format."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, NamedTuple, Protocol, Self

import numpy as np

from velocity.errors import VelocityError, printable

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz: a damaged header could otherwise turn a few bytes into gigabytes
HEAD = 1024  # bytes that tell the format
COPIED = 1 << 20  # bytes at a time

Source = str | os.PathLike[str] | bytes | BinaryIO  # a file


class Recording(Protocol):
    """An open audio file.

    ``missing``: seconds that its header promises and the file lacks. ``remark``: what is wrong with its end, or None.
    Both are complete when ``blocks`` has come to the end.
    """

    rate: int  # Hz
    channels: int
    missing: float
    remark: str | None

    @property
    def frames(self) -> int:
        """How many it holds, as far as that is known before they are decoded; else 0."""
        ...

    def blocks(self, first: int = 0, frames: int | None = None) -> Iterator[np.ndarray]:
        """``frames`` frames (None: all) from frame ``first`` on, as (n, channels) float32 that the next one overwrites.

        Raises VelocityError, also after some blocks, where the file is damaged or ends before its header says.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


@contextmanager
def as_path(source: Source, name: str | None = None) -> Iterator[tuple[str | Path, str]]:
    """The path of ``source``, and ``name`` or its own for messages. Bytes and open files are copied to a file, since
    decoders go back and forth.

    Raises VelocityError for what is none of these, for text, and when nothing can be read.
    """
    if isinstance(source, (str, os.PathLike)):
        yield source, name or printable(source)
        return
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    elif not hasattr(source, "read"):
        raise VelocityError(f"audio of type {type(source).__name__}: expected a path, bytes or an open binary file")
    own = getattr(source, "name", None)
    name = name or (printable(own) if isinstance(own, str) else "audio in memory")
    with NamedTemporaryFile(prefix="velocity-asr-") as file:
        try:
            while data := source.read(COPIED):
                file.write(data)
            file.flush()
        except TypeError as error:
            raise VelocityError(f"{name}: opened as text; open it in binary mode, 'rb'") from error
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise VelocityError(f"{name}: cannot be read ({error})") from error
        if not file.tell():
            raise VelocityError(f"{name}: no bytes to read; if it has just been written, go back with seek(0)")
        yield file.name, name


def open_recording(path: str | Path, seeking: bool = False, name: str | None = None) -> Recording:
    """``path``, to be decoded from its beginning, or ``seeking``: a stretch of it. ``name``: its name in messages.

    Raises VelocityError when the file is missing, unreadable or no audio.
    """
    import soundfile

    from velocity.reading.ffmpeg import FFmpegRecording, format_of
    from velocity.reading.sndfile import SndfileRecording, reason

    name = name or printable(path)
    try:
        _check_is_file(path)
        with ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            foreign = format_of(file.read(HEAD))
            recording = FFmpegRecording(file, name, foreign) if foreign else SndfileRecording(file, path, name, seeking)
            check_rate(recording.rate, name)
            stack.pop_all()  # the recording closes it
            return recording
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise VelocityError(f"{name}: cannot be read as audio ({reason(error)})") from error


class Header(NamedTuple):
    """What manifests need of a file; ``frames`` to its true end."""

    channels: int
    rate: int  # Hz
    frames: int


def read_header(path: str | Path) -> Header:
    """The file is decoded only if nothing else tells its length. Raises VelocityError as ``open_recording``, and when
    it holds no samples."""
    with open_recording(path) as recording:
        frames = recording.frames or sum(map(len, recording.blocks()))
        if not frames:
            raise VelocityError(f"{printable(path)}: holds no audio samples")
        return Header(recording.channels, recording.rate, frames)


def check_rate(rate: int, name: str) -> None:
    """Raise VelocityError for a rate that no speech has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise VelocityError(f"{name}: a sample rate of {rate} Hz; speech has {LOWEST_RATE} to {HIGHEST_RATE} Hz")


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
