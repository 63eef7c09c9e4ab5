"""Formats made of chunks, each with an id and a length: WAV, RF64, AIFF, CAF and Wave64, without a look at the audio.

EA IFF 85 and its relatives RIFF (Microsoft, IBM 1991), RF64 (EBU Tech 3306), Apple's AIFF-C and CAF, Sony's Wave64.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MOST = 10_000  # chunks of a file; a walk over a million empty ones would take seconds


class Layout(NamedTuple):
    """How a format writes its chunks."""

    magic: bytes
    kinds: tuple[bytes, ...]  # bytes 8 to 12
    header: int  # bytes before the first chunk
    id: int  # bytes of a chunk's id
    name: re.Pattern[bytes]  # of an id
    length: str  # format of the lengths
    included: int  # bytes of a chunk's header that its length includes
    aligned: int  # bytes
    audio: bytes  # beginning of the id of the chunk with the audio


FOUR = re.compile(rb"[ -~]{4}")
GUID = re.compile(rb".{10}\x00\xc0\x4f\x8e\xdb\x8a", re.DOTALL)
RIFF = Layout(b"RIFF", (b"WAVE",), 12, 4, FOUR, "<I", 0, 2, b"data")
W64 = Layout(b"riff\x2e\x91\xcf\x11", (b"\xa5\xd6\x28\xdb",), 40, 16, GUID, "<Q", 24, 8, b"data")
LAYOUTS = (
    RIFF,
    RIFF._replace(magic=b"RIFX", length=">I"),
    RIFF._replace(magic=b"RF64"),
    Layout(b"FORM", (b"AIFF", b"AIFC"), 12, 4, FOUR, ">I", 0, 2, b"SSND"),
    Layout(b"caff\0\1", (b"desc",), 8, 4, FOUR, ">q", 0, 1, b"data"),
    W64,
)


class Chunk(NamedTuple):
    id: bytes
    place: int
    body: int  # where its content begins
    length: int  # of the content, as it is written: it may be negative, or beyond the file
    after: int  # where the next one begins


def layout_of(head: bytes) -> Layout | None:
    """The layout of a file that begins with ``head``, 12 bytes of it, if it is made of chunks."""
    for layout in LAYOUTS:
        if head.startswith(layout.magic) and head[8:12] in layout.kinds:
            return layout
    return None


def chunks(file: BinaryIO, layout: Layout, start: int, place: int, size: int) -> Iterator[Chunk]:
    """The chunks from byte ``place`` on of what begins at ``start``, up to what is none or the file's ``size``."""
    width = struct.calcsize(layout.length)
    for _ in range(MOST):
        if place >= size:
            return
        file.seek(place)
        head = file.read(layout.id + width)
        if len(head) < layout.id + width or not layout.name.match(head):
            return
        (length,) = struct.unpack(layout.length, head[layout.id :])
        body, length = place + len(head), length - layout.included
        after = padded(file, layout, start, body + max(0, length), size)
        yield Chunk(head[: layout.id], place, body, length, after)
        place = after


def padded(file: BinaryIO, layout: Layout, start: int, end: int, size: int) -> int:
    """Where the padding ends of a chunk that ends at ``end``; not every program writes it."""
    padding = -(end - start) % layout.aligned
    if end + padding > size:
        return end
    file.seek(end)
    return end + padding if file.read(padding) == bytes(padding) else end
