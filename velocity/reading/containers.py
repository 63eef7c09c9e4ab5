"""What a file holds, by its structure and not by the lengths in its headers.

Decoders believe headers: what follows in a chained Ogg or after the first of several MP3s, all of a WAV that a pipe has
left without a length, and what was recorded after the last time that a recorder wrote one, would be lost without an
error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

from velocity.reading import mpeg
from velocity.reading.chunks import RIFF, W64, Layout, chunks, layout_of, padded
from velocity.reading.ogg import HEADERS, VORBIS, Link, links
from velocity.reading.spans import Piece

STREAMED = {4: 0x7FFF0000, 8: 1 << 62}  # lengths of so many bytes from here on are what programs write to a pipe
LONGEST = 0xFFFFFFFF  # that four bytes can tell
TRIFLE = 512  # bytes: what follows the audio, and is shorter than both this and the audio, is left out
HEAD = 16  # bytes that tell what begins there
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
    """The recordings in ``file``, in their order; [] when its structure is none of those known here.

    What lies between two of a kind, such as a tag, is skipped.
    """
    size, place, found = file.seek(0, 2), 0, []
    while more := _parts_at(file, place, size):
        found += more
        place = more[-1].end
        if (head := _read(file, place, HEAD)).startswith(b"ID3"):
            place += mpeg.tag_size(head)
        if not _begins(file, place, size):
            place = _next(file, more[-1].start, place, size)
    return found


def _parts_at(file: BinaryIO, place: int, size: int) -> list[Part]:
    head = _read(file, place, HEAD)
    if head.startswith(b"ID3") and _read(file, after := place + mpeg.tag_size(head), 8) == FLAC_START:
        return [_flac(file, after, size)]
    if head.startswith(b"ID3") or mpeg.parse(head[:4]):
        return _mpeg(file, place, size)
    if head.startswith(FLAC_START):
        return [_flac(file, place, size)]
    if head.startswith(b"OggS"):
        return [_ogg(file, link) for link in links(file, place, size, lambda other: _begins(file, other, size))]
    if order := _au_order(head):
        return [_au(file, head, order, place, size)]
    layout = layout_of(head)
    return _chunked(file, layout, place, size) if layout else []


def _begins(file: BinaryIO, place: int, size: int) -> bool:
    """Whether a recording begins at ``place``."""
    head = _read(file, place, HEAD)
    if head.startswith((FLAC_START, b"OggS")) or _au_order(head) or layout_of(head):
        return True
    return mpeg.parse(head[:4]) is not None and mpeg.begins(file, place, size)


def _next(file: BinaryIO, start: int, place: int, end: int) -> int:
    """Where, from ``place`` on, the next recording of the kind that begins at ``start`` does; ``end`` if nowhere."""
    magic = _read(file, start, 4)
    while place < end:
        data = _read(file, place, SCANNED)
        found = data.find(magic)
        if found >= 0 and _begins(file, place + found, end):
            return place + found
        place += found + 1 if found >= 0 else max(1, len(data) - len(magic) + 1)
    return end


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def mpeg_parts(file: BinaryIO) -> list[Part]:
    """The streams of MPEG audio in ``file``, which begins with something else."""
    return _mpeg(file, 0, file.seek(0, 2))


def _mpeg(file: BinaryIO, start: int, end: int, wrapped: bool = False) -> list[Part]:
    streams, end = mpeg.walk(file, start, end, lambda other: _begins(file, other, end))
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
    end = _next(file, start, start + FLAC_HEADER, size)
    header, frames, rate = _without_total(_read(file, start, FLAC_HEADER))
    return Part(start, end, [header, (start + FLAC_HEADER, end)], frames=frames, rate=rate)


def _without_total(header: bytes) -> tuple[bytes, int, int]:
    """The header of a FLAC without its total; the total; the rate."""
    if len(header) < FLAC_HEADER:
        return header, 0, 0
    total = (header[21] & 15) << 32 | int.from_bytes(header[22:26], "big")
    return header[:21] + bytes([header[21] & 0xF0, 0, 0, 0, 0]) + header[26:], total, int.from_bytes(header[18:21]) >> 4


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


def _au_order(head: bytes) -> str | None:
    """The byte order of a Sun or NeXT audio file, by its magic number; None if ``head`` begins none."""
    order = {b".snd": ">", b"dns.": "<"}.get(head[:4])
    if order and len(head) == HEAD:
        first, _, encoding = struct.unpack(order + "III", head[4:])
        if 24 <= first < 1 << 16 and 0 < encoding < 256:
            return order
    return None


def _au(file: BinaryIO, head: bytes, order: str, start: int, size: int) -> Part:
    """Its header: magic number, place of the audio, its length, encoding, rate, channels, a remark."""
    first, promised = struct.unpack(order + "II", head[4:12])
    part, end = _delimited(file, start, start + first, promised, STREAMED[4], size)
    if end != start + first + promised:
        length = struct.pack(order + "I", min(end - start - first, LONGEST))  # the longest one is "unknown"
        part.pieces = [(start, start + 8), length, (start + 12, end)]
    return part


def _delimited(
    file: BinaryIO, start: int, body: int, promised: int, streamed: int, size: int, layout: Layout | None = None
) -> tuple[Part, int]:
    """The part whose audio begins at ``body``, without its pieces, and where that audio ends.

    The length in its header is believed if the file ends there but for a trifle, or if a chunk, a tag or another
    recording follows. Otherwise the audio lasts up to the next recording of its kind, or the end of the file.
    ``streamed``: lengths from here on promise nothing.
    """
    claimed = body + promised
    if promised >= 0 and claimed <= size:
        place = after = claimed
        if layout:
            place = after = padded(file, layout, start, claimed, size)
            for chunk in chunks(file, layout, start, place, size):
                if _begins(file, chunk.place, size):
                    break
                after = chunk.after
        if after > place or _may_end(file, place, size, min(TRIFLE, promised + 1)):
            open_end = after > size or not _may_end(file, after, size, TRIFLE)
            return Part(start, min(after, size), open_end=open_end), claimed
    end = _next(file, start, body, size)
    held = max(0, end - body)
    missing = promised / max(1, held) - 1 if held < promised < streamed else 0.0
    return Part(start, end, missing=missing), body + held


def _may_end(file: BinaryIO, place: int, size: int, trifle: int) -> bool:
    """Whether a recording may end at ``place``: less than a trifle follows, a tag, or another recording."""
    return size - place < trifle or _read(file, place, 3) in mpeg.MAY_FOLLOW or _begins(file, place, size)


def _chunked(file: BinaryIO, layout: Layout, start: int, size: int) -> list[Part]:
    tag = long_lengths = 0
    for chunk in chunks(file, layout, start, start + layout.header, size):
        if chunk.id.startswith(layout.audio):
            break
        if chunk.id.startswith(b"fmt "):
            tag = int.from_bytes(_read(file, chunk.body, 2), "little")
        elif chunk.id == b"ds64":
            long_lengths = chunk.body
    else:
        return []
    body, promised, width = chunk.body, chunk.length, struct.calcsize(layout.length)
    if long_lengths:
        promised, width = int.from_bytes(_read(file, long_lengths + 8, 8), "little"), 8
    part, end = _delimited(file, start, body, promised, STREAMED[width], size, layout)
    if tag in MPEG_TAGS and (wrapped := _mpeg(file, body, end, wrapped=True)):
        wrapped[-1].end, wrapped[-1].missing = part.end, part.missing
        return wrapped
    if end != body + promised:
        part.pieces = _with_length(layout, start, body, end, long_lengths)
    elif layout is W64 and end < part.end:
        part.pieces = [(start, end)]  # libsndfile takes the chunks that follow for audio
    return [part]


def _with_length(layout: Layout, start: int, body: int, end: int, long_lengths: int) -> list[Piece]:
    """A file made of chunks with the true length of its audio. Raises ValueError where none can be written."""
    held, width = end - body, struct.calcsize(layout.length)
    if long_lengths:
        return [(start, long_lengths), struct.pack("<QQ", end - start - 8, held), (long_lengths + 16, end)]
    if layout is RIFF and held > LONGEST:  # RF64 is made for that
        head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<IQQQI", 28, end - start + 28, held, 0, 0)
        return [head, (start + layout.header, body - width), b"\xff\xff\xff\xff", (body, end)]
    if width == 4 and held > LONGEST:
        raise ValueError("longer than the 4 GB that its format can have")
    return [(start, body - width), struct.pack(layout.length, held + layout.included), (body, end)]
