"""Decoding by FFmpeg, through PyAV if it is installed, of formats that libsndfile does not know: AAC, WebM, WMA, AMR.

A file is given to FFmpeg only if it begins as such a format, and FFmpeg may open no other: a playlist could name other
files, or addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO, Self

import numpy as np

from velocity.errors import VelocityError
from velocity.reading.blocks import conformed, stretch

SUFFIXES = (".m4a", ".m4b", ".aac", ".webm", ".mka", ".wma", ".amr", ".3gp")
FORMATS = "aac,amr,asf,caf,matroska,mov,nistsphere,ogg,wav"  # FFmpeg's names
WITH_LENGTH = ("asf", "matroska", "mov")  # the others' lengths are estimates
ROUNDING = 0.1  # seconds: lengths include the silence that an encoder adds
SNDFILE_WAV = (1, 2, 3, 6, 7, 0x11, 0x14, 0x31, 0x40, 0x45, 0x50, 0x55, 0x64, 0x65, 0x6A, 0xFFFE)  # format tags
SNDFILE_CAF = (b"lpcm", b"ulaw", b"alaw", b"alac")
SNDFILE_OGG = (b"\x01vor", b"Opus", b"\x7fFLA")


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with ``head``, 1 kB of it, if it is one for FFmpeg."""
    if head[4:8] == b"ftyp":
        return "MP4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "Matroska or WebM"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return "WMA"
    if head.startswith(b"#!AMR"):
        return "AMR"
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "AAC"
    if head.startswith(b"RIFF") and (place := head.find(b"fmt ")) > 0:
        tag = int.from_bytes(head[place + 8 : place + 10], "little")
        return None if tag in SNDFILE_WAV else f"WAV with the codec {tag:#06x}"
    if head.startswith(b"caff") and head[28:32] not in SNDFILE_CAF:
        return "CAF with another codec"
    if head.startswith(b"OggS") and head[28:32] not in SNDFILE_OGG:
        return "Ogg with another codec"
    return "SPHERE with shorten" if head.startswith(b"NIST_1A") and b"shorten" in head else None


class FFmpegRecording:
    """A ``Recording``: the first audio stream of a file, as far as FFmpeg decodes it."""

    def __init__(self, file: BinaryIO, name: str, format: str) -> None:
        """``file`` is open, and is closed with the recording.

        Raises VelocityError when it cannot be decoded, or PyAV is not installed.
        """
        self._file, self._name = file, name
        self.missing, self.remark = 0.0, None
        try:
            import av
        except ImportError:
            advice = "pip install 'velocity-asr[formats]', or convert it to WAV or FLAC"
            raise VelocityError(f"{name}: {format} is read by FFmpeg, which is not installed: {advice}") from None
        self._failures = (av.FFmpegError, OSError, ValueError, EOFError)
        self._damaged = False
        file.seek(0)
        try:
            self._container = av.open(file, options={"format_whitelist": FORMATS})
        except self._failures as error:
            raise VelocityError(f"{name}: cannot be read as audio ({format}: {_reason(error)})") from error
        self._audio = next(iter(self._container.streams.audio), None)
        self._frames = self._decoded() if self._audio else iter(())
        first = next(self._frames, None)
        if first is None:
            self._container.close()
            raise VelocityError(f"{name}: cannot be read as audio ({format}: no audio in it)")
        self._frames = chain([first], self._frames)
        self.rate, self.channels = first.sample_rate, first.layout.nb_channels

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._file.close()

    @property
    def frames(self) -> int:
        return 0

    def blocks(self, first: int = 0, frames: int | None = None) -> Iterator[np.ndarray]:
        if first or frames is not None:
            yield from stretch(self._arrays(), first, frames)
            return
        decoded = 0
        for block in self._arrays():
            decoded += len(block)
            yield block
        seconds = decoded / self.rate
        reliable = self._container.format.name.startswith(WITH_LENGTH)
        promised = (self._container.duration or 0) / 1e6 if reliable else 0.0
        if promised - seconds > ROUNDING:
            self.missing = promised - seconds
            self.remark = f"cut off after {seconds:.1f} s of {promised:.1f} s; what is there is used"
        elif self._damaged:
            self.remark = f"cut off or damaged: {seconds:.1f} s of it are used"

    def _arrays(self) -> Iterator[np.ndarray]:
        """The frames as (n, channels) float32, all with the rate and the channels of the first."""
        import av

        resampler, shape = None, None
        for frame in self._frames:
            if shape != (frame.sample_rate, frame.layout.name, frame.format.name):
                shape = frame.sample_rate, frame.layout.name, frame.format.name
                resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
            frame.pts = None  # a gap in the times is none in the sound
            channels = frame.layout.nb_channels
            found = (part.to_ndarray().reshape(-1, channels) for part in resampler.resample(frame))
            yield from conformed(found, (frame.sample_rate, channels), (self.rate, self.channels))

    def _decoded(self) -> Iterator[Any]:
        """The frames of the stream; packets that cannot be decoded are left out, as FFmpeg does."""
        try:
            for packet in self._container.demux(self._audio):
                try:
                    yield from packet.decode()
                except self._failures:
                    self._damaged = True
        except self._failures:
            self._damaged = True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
