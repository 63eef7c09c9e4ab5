"""The pages of an Ogg file (RFC 3533), without a look at what they carry."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from velocity.reading.mpeg import Window

BEGINS, ENDS = 2, 4  # flags of a page: the first of its stream, the last
KEPT = b"\x7fFLAC"  # the codec whose pages are kept
VORBIS, HEADERS = b"\x01vorb", 3  # the first packets of a Vorbis stream, without which there is no decoding
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of a byte


@dataclass
class Link:
    """One recording of a chain: streams that begin together."""

    start: int
    end: int  # bytes
    codec: bytes  # the first bytes of its first stream
    serial: bytes  # of that stream
    spans: list[tuple[int, int]] = field(default_factory=list)  # what its pages carry, if it is FLAC
    ended: bool = False
    begun: bool = False  # a page that is not a stream's first has come
    packets: int = 0  # complete, of a Vorbis stream, until there are HEADERS
    damaged: bool = False  # a page with them has another check sum


def links(file: BinaryIO, start: int, size: int, is_other: Callable[[int], bool]) -> list[Link]:
    """The links of the chain that begins at byte ``start``; what lies between pages belongs to the link before.

    The chain ends where ``is_other`` says so of a place after a page, of what else begins there.
    """
    window, found, place = Window(file), [], start
    while place < size:
        header = window.read(place, 27)
        if len(header) < 27 or not header.startswith(b"OggS"):
            if found and is_other(place):
                found[-1].end = place
                break
            place = _next(window, place, size)
            continue
        table = window.read(place + 27, header[26])
        body = place + 27 + header[26]
        end = body + sum(table)
        if end > size:
            break
        flags, serial = header[5], header[14:18]
        if flags & BEGINS and (not found or found[-1].begun):
            if found:
                found[-1].end = place
            found.append(Link(place, size, window.read(body, min(5, end - body)), serial))
        if found:
            link = found[-1]
            link.begun |= not flags & BEGINS
            if serial == link.serial:
                link.ended |= bool(flags & ENDS)
                if link.codec == KEPT:
                    link.spans.append((body, end))
                elif link.codec == VORBIS and link.packets < HEADERS:
                    link.damaged |= not _intact(window.read(place, end - place))
                    link.packets += sum(size < 255 for size in table)
        place = end
    return found


def _intact(page: bytes) -> bool:
    """Whether the check sum is right: zlib's polynomial from the other end, and without its inversions."""
    found = ~zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return page[22:26] == bytes(REVERSED[byte] for byte in found.to_bytes(4, "big"))


def _next(window: Window, place: int, size: int) -> int:
    """Where the next page begins, after ``place``; ``size`` if nowhere."""
    place += 1
    while place < size:
        data = window.read(place, 1 << 20)
        if (found := data.find(b"OggS")) >= 0:
            return place + found
        place += max(1, len(data) - 3)
    return size
