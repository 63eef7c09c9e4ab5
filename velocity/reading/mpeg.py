"""Layers II and III of MPEG audio (ISO/IEC 11172-3 and 13818-3), frame by frame: nothing is decoded.

An MP3 has no length. Decoders take it from an information frame at the beginning (Xing's), which is wrong once files
are concatenated or cut, or estimate it from the first bit rate, which is wrong if the rate varies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version
KILOBITS = {  # a second, by "is MPEG-1" and layer
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MAY_BEGIN = re.compile(rb"\xff[\xe2-\xff][\x10-\xeb]")  # a frame
MAY_FOLLOW = (b"TAG", b"ID3", b"APE")  # the last frame of a stream: tags
DECODER_DELAY = 529  # samples, which every decoder adds to the encoder's
CHUNK = 1 << 20  # bytes read at a time
KEPT = 1 << 13  # bytes before them: a candidate is followed by a look at the next one, and then by going back


class Header(NamedTuple):
    """``kind`` is the same for all frames of a stream: version, layer, rate in Hz, channels."""

    kind: tuple[int, int, int, int]
    size: int  # bytes
    samples: int


@dataclass
class Stream:
    """Frames of one kind. ``spans``: where they lie in the file, without the information frame."""

    kind: tuple[int, int, int, int]
    samples: int  # of a frame
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    promised: int = 0  # frames, by the information frame; 0: there is none
    delay: int = 0  # samples at the beginning that are the encoder's and the decoder's
    open_end: bool = False  # the last frame is incomplete

    def add(self, start: int, end: int) -> None:
        self.frames += 1
        if self.spans and self.spans[-1][1] == start:
            start = self.spans.pop()[0]
        self.spans.append((start, end))


@lru_cache(maxsize=4096)
def parse(data: bytes) -> Header | None:
    """The header in 4 bytes; None if they are not one, or one of a free bit rate."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    bits, rate = data[2] >> 4, data[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or rate == 3 or bits in (0, 15):
        return None
    hertz = RATES[version][rate]
    samples = 576 if layer == 3 and version != 3 else 1152
    size = samples // 8 * KILOBITS[version == 3, layer][bits - 1] * 1000 // hertz + (data[2] >> 1 & 1)
    return Header((version, layer, hertz, 1 if data[3] >> 6 == 3 else 2), size, samples)


class Window:
    """Random access to a file that is mostly read forwards."""

    def __init__(self, file: BinaryIO, chunk: int = CHUNK) -> None:
        self._file, self._chunk, self._first, self._data = file, chunk, 0, b""

    def read(self, place: int, count: int) -> bytes:
        start = place - self._first
        if start < 0 or start + count > len(self._data):
            self._first = max(0, place - KEPT)
            self._file.seek(self._first)
            start = place - self._first
            self._data = self._file.read(start + max(count, self._chunk))
        return self._data[start : start + count]


def walk(file: BinaryIO, start: int, end: int, is_other: Callable[[int], bool]) -> tuple[list[Stream], int]:
    """The streams between two bytes of ``file``, and where they end: at ``end``, or where ``is_other`` says so of a
    place after a frame, of what else begins there. What is no frame is skipped. [] when there are none."""
    window, streams, place = Window(file), [], start
    while place + 4 <= end:
        header = parse(window.read(place, 4))
        stream = streams[-1] if streams else None
        known = header is not None and stream is not None and header.kind == stream.kind
        if known and place + header.size <= end:
            stream.add(place, place + header.size)
            place += header.size
            continue
        if known:
            stream.open_end = True
            break
        if header is None or not _confirmed(window, header, place, end):
            if stream and is_other(place):
                end = place
                break
            place = _next(window, place, end)
            continue
        streams.append(Stream(header.kind, header.samples))
        if _read_information(window.read(place, header.size), streams[-1]):
            place += header.size
    return [stream for stream in streams if stream.frames], end


def begins(file: BinaryIO, place: int, end: int) -> bool:
    """Whether a stream begins at ``place``."""
    window = Window(file, KEPT)
    header = parse(window.read(place, 4))
    return header is not None and _confirmed(window, header, place, end)


def _confirmed(window: Window, header: Header, place: int, end: int) -> bool:
    """Another frame of the kind follows, a tag, or the end."""
    follows = place + header.size
    if follows >= end:
        return follows == end
    data = window.read(follows, 4)
    after = parse(data)
    return after.kind == header.kind if after else data.startswith(MAY_FOLLOW)


def _next(window: Window, place: int, end: int) -> int:
    """Where the next frame may begin, after a tag or whatever else lies at ``place``; ``end`` if nowhere."""
    tag = window.read(place, 10)
    if tag[:3] == b"ID3" and len(tag) == 10:
        return place + tag_size(tag)
    if tag[:3] == b"TAG":
        return place + 128
    place += 1
    while place < end:
        data = window.read(place, min(CHUNK, end - place))
        for found in MAY_BEGIN.finditer(data):
            header = parse(window.read(place + found.start(), 4))
            if header and _confirmed(window, header, place + found.start(), end):
                return place + found.start()
        place += max(1, len(data) - 2)
    return end


def tag_size(tag: bytes) -> int:
    """Bytes of an ID3v2 tag, by the first ten of them."""
    return 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=False))


def _read_information(frame: bytes, stream: Stream) -> bool:
    """Whether the first frame of a stream is an information frame, by Xing or LAME or by Fraunhofer: no audio."""
    if frame[36:40] == b"VBRI":
        stream.promised = int.from_bytes(frame[50:54], "big")
        return True
    version, _, _, channels = stream.kind
    side = (17 if channels == 1 else 32) if version == 3 else (9 if channels == 1 else 17)  # bytes after the header
    information = frame[4 + side :]
    if information[:4] not in (b"Xing", b"Info"):
        return False
    flags = information[7] if len(information) >= 12 else 0
    stream.promised = int.from_bytes(information[8:12], "big") if flags & 1 else 0
    lame = information[8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit) :]
    if lame[:4] in (b"LAME", b"Lavf", b"Lavc") and len(lame) >= 24:
        stream.delay = (int.from_bytes(lame[21:24], "big") >> 12) + DECODER_DELAY
    return True
