"""The pages of an Ogg file (RFC 3533), without a look at what they carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from velocity.reading.mpeg import Window

BEGINS, ENDS = 2, 4  # flags of a page: the first of its stream, the last
KEPT = b"\x7fFLAC"  # the codec whose pages are kept


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


def links(file: BinaryIO, start: int, size: int) -> list[Link]:
    """The links of the chain that begins at byte ``start``; what lies between pages belongs to the link before."""
    window, found, place = Window(file), [], start
    while place < size:
        header = window.read(place, 27)
        if len(header) < 27 or not header.startswith(b"OggS"):
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
        place = end
    return found


def _next(window: Window, place: int, size: int) -> int:
    """Where the next page begins, after ``place``; ``size`` if nowhere."""
    place += 1
    while place < size:
        data = window.read(place, 1 << 20)
        if (found := data.find(b"OggS")) >= 0:
            return place + found
        place += max(1, len(data) - 3)
    return size
