"""What a file holds, by its structure and not by the lengths in its headers.

Decoders believe headers: what follows in a chained Ogg or after the first of several MP3s, and all of a WAV that a pipe
has left without a length, would be lost without an error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from velocity.reading import mpeg
from velocity.reading.ogg import HEADERS, VORBIS, Link, links
from velocity.reading.spans import Piece

STREAMED = 0x7FFF0000  # lengths from here on are what programs write that cannot return to the header
FLAC_START = b"fLaC\0\0\0\x22"  # its first block is STREAMINFO, of 34 bytes
FLAC_HEADER = 42  # bytes up to the end of that block
FLAC_IN_OGG = 9  # bytes before it
MPEG_TAGS = (0x50, 0x55)  # formats of a WAV: MP2, MP3
SCANNED = 1 << 20  # bytes searched at a time


@dataclass
class Part:
    """One of the recordings that a file consists of, from byte ``start`` to ``end``, as a decoder has to see it."""

    start: int
    end: int
    pieces: list[Piece] = field(default_factory=list)  # what the decoder is given instead; []: these bytes
    seekable: bool = True  # the decoder finds a place in these bytes
    frames: int = 0  # that it decodes to; 0: the decoder knows
    rate: int = 0  # Hz, of ``frames``
    counted: bool = False  # ``frames`` are an estimate from what is there, and no promise
    skip: int = 0  # frames at the beginning that are the encoder's delay
    endless: bool = False  # the decoder is to estimate no length
    missing: float = 0.0  # what the header promises beyond what is there, as a share of what is there
    open_end: bool = False  # it does not end as its format does


def parts(file: BinaryIO) -> list[Part]:
    """The recordings in ``file``, in their order; [] when its structure is none of those known here."""
    size, place, found = file.seek(0, 2), 0, []
    while place < size and (more := _parts_at(file, place, size)):
        found += more
        place = more[-1].end
        place += place % 2 and _read(file, place, 1) == b"\0"  # chunks are padded
    return found


def _parts_at(file: BinaryIO, place: int, size: int) -> list[Part]:
    head = _read(file, place, 16)
    if head.startswith(b"ID3") and _read(file, after := place + mpeg.tag_size(head), 8) == FLAC_START:
        return [_flac(file, after, size)]
    if head.startswith(b"ID3") or mpeg.parse(head[:4]):
        return _mpeg(file, place, size)
    if head.startswith(FLAC_START):
        return [_flac(file, place, size)]
    if head.startswith(b"OggS"):
        return [_ogg(file, link) for link in links(file, place, size)]
    if head.startswith(b".snd") and len(head) >= 12:
        return [_au(file, head, place, size)]
    for layout in LAYOUTS:
        if head.startswith(layout.magic) and head[8:12] in layout.kinds:
            return _chunked(file, layout, place, size)
    return []


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def mpeg_parts(file: BinaryIO) -> list[Part]:
    """The streams of MPEG audio in ``file``, which begins with something else."""
    return _mpeg(file, 0, file.seek(0, 2))


def _mpeg(file: BinaryIO, start: int, end: int, wrapped: bool = False) -> list[Part]:
    streams = mpeg.walk(file, start, end)
    return [_mpeg_part(stream, start, end, wrapped or len(streams) > 1) for stream in streams]


def _mpeg_part(stream: mpeg.Stream, start: int, end: int, cut_out: bool) -> Part:
    """An information frame is believed if it is right: it also knows the silence that the encoder has added."""
    part = Part(start, end, open_end=stream.open_end)
    if cut_out or stream.promised != stream.frames:
        part.pieces, part.seekable, part.endless = list(stream.spans), False, True
        part.skip = min(stream.delay, stream.frames * stream.samples)
        part.frames, part.rate, part.counted = stream.frames * stream.samples - part.skip, stream.kind[2], True
        part.missing = max(0, stream.promised - stream.frames) * stream.samples / max(1, part.frames)
    return part


def _flac(file: BinaryIO, start: int, size: int) -> Part:
    """A decoder stops at the total of STREAMINFO, so it is given none: 0 is unknown."""
    end = _find(file, FLAC_START, start + FLAC_HEADER, size)
    header, frames, rate = _without_total(_read(file, start, FLAC_HEADER))
    return Part(start, end, [header, (start + FLAC_HEADER, end)], frames=frames, rate=rate)


def _without_total(header: bytes) -> tuple[bytes, int, int]:
    """The header of a FLAC without its total; the total; the rate."""
    if len(header) < FLAC_HEADER:
        return header, 0, 0
    total = (header[21] & 15) << 32 | int.from_bytes(header[22:26], "big")
    return header[:21] + bytes([header[21] & 0xF0, 0, 0, 0, 0]) + header[26:], total, int.from_bytes(header[18:21]) >> 4


def _find(file: BinaryIO, pattern: bytes, start: int, end: int) -> int:
    """Where ``pattern`` is next, or else ``end``."""
    place = start
    while place < end:
        data = _read(file, place, SCANNED)
        if (found := data.find(pattern)) >= 0:
            return place + found
        place += max(1, len(data) - len(pattern) + 1)
    return end


def _ogg(file: BinaryIO, link: Link) -> Part:
    """FLAC is taken out of its pages: not every libsndfile reads it there.

    Raises ValueError for a Vorbis stream without intact headers: libsndfile loses 5 kB of memory at each of those.
    """
    if link.codec == VORBIS and (link.damaged or link.packets < HEADERS):
        raise ValueError("the headers of its Vorbis stream are damaged or cut off")
    part = Part(link.start, link.end, open_end=not link.ended)
    if link.codec == b"\x7fFLAC":
        first = link.spans[0][0] + FLAC_IN_OGG
        header, part.frames, part.rate = _without_total(_read(file, first, FLAC_HEADER))
        part.pieces = [header, (first + FLAC_HEADER, link.spans[0][1]), *link.spans[1:]]
        part.seekable = False
    return part


def _au(file: BinaryIO, head: bytes, start: int, size: int) -> Part:
    first, promised = struct.unpack(">II", head[4:12])
    held = size - start - first
    if 0 < promised <= held:
        return Part(start, start + first + promised)
    part = Part(start, size, [head[:8], struct.pack(">I", max(0, held)), (start + 12, size)])
    if held < promised < STREAMED:
        part.missing = promised / max(1, held) - 1
    return part


class Layout(NamedTuple):
    """Of a format made of chunks, each with an id and a length."""

    magic: bytes
    kinds: tuple[bytes, ...]  # bytes 8 to 12
    header: int  # bytes before the first chunk
    id: int  # bytes of a chunk's id
    length: str  # format of the lengths
    included: int  # bytes of a chunk's header that its length includes
    aligned: int  # bytes
    audio: bytes  # beginning of the id of the chunk with the audio
    outer: tuple[int, int] | None  # place of the length of the whole, and the bytes that it leaves out


LAYOUTS = (
    Layout(b"RIFF", (b"WAVE",), 12, 4, "<I", 0, 2, b"data", (4, 8)),
    Layout(b"RF64", (b"WAVE",), 12, 4, "<I", 0, 2, b"data", None),
    Layout(b"FORM", (b"AIFF", b"AIFC"), 12, 4, ">I", 0, 2, b"SSND", (4, 8)),
    Layout(b"caff\0\1", (b"desc",), 8, 4, ">q", 0, 1, b"data", None),
    Layout(b"riff\x2e\x91\xcf\x11", (b"\xa5\xd6\x28\xdb",), 40, 16, "<Q", 24, 8, b"data", (16, 0)),  # W64
)


def _chunked(file: BinaryIO, layout: Layout, start: int, size: int) -> list[Part]:
    width = struct.calcsize(layout.length)
    place, tag, long_lengths = start + layout.header, 0, 0
    while True:
        head = _read(file, place, layout.id + width)
        if len(head) < layout.id + width:
            return []
        (length,) = struct.unpack(layout.length, head[layout.id :])
        body = place + len(head)
        if head.startswith(layout.audio):
            break
        if head.startswith(b"fmt "):
            tag = int.from_bytes(_read(file, body, 2), "little")
        elif head.startswith(b"ds64"):
            long_lengths = body
        place = body + max(0, length - layout.included)
        place += -(place - start) % layout.aligned
    promised, held = length - layout.included, size - body
    if long_lengths:
        (promised,) = struct.unpack("<Q", _read(file, long_lengths + 8, 8).ljust(8, b"\0"))
    end = _outer_end(file, layout, start)
    streamed = promised < 0 or promised >= (STREAMED if width == 4 and not long_lengths else 1 << 62)
    streamed |= promised <= (4 if layout.magic.startswith(b"caff") else 0) < held and end != size
    part = Part(start, size if streamed or promised > held else max(end if end <= size else 0, body + promised))
    if not streamed and promised > held:
        part.missing = promised / max(1, held) - 1
    if tag in MPEG_TAGS:
        wrapped = _mpeg(file, body, size if streamed else min(size, body + promised), wrapped=True)
        if wrapped:
            wrapped[-1].end, wrapped[-1].missing = part.end, part.missing
            return wrapped
    if streamed or promised > held:
        part.pieces = [(start, body - width), struct.pack(layout.length, held + layout.included), (body, size)]
        if long_lengths:
            lengths = struct.pack("<QQ", size - start - 8, held)
            part.pieces = [(start, long_lengths), lengths, (long_lengths + 16, size)]
    return [part]


def _outer_end(file: BinaryIO, layout: Layout, start: int) -> int:
    """Where the header says that the whole ends; 0 if it does not."""
    if layout.outer is None:
        return 0
    place, left_out = layout.outer
    width = struct.calcsize(layout.length)
    (length,) = struct.unpack(layout.length, _read(file, start + place, width))
    return start + length + left_out
