"""A file made of stretches of another one: what a decoder is given instead of a header that misleads it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import BinaryIO

Piece = bytes | tuple[int, int]  # bytes in place of some of the file's, or a stretch of it: from, to
ENDLESS = 1 << 40  # bytes: the length that an endless file claims
TAG = 128  # bytes at its end, where a decoder looks for a tag: zeros


class Spans:
    """The pieces of ``file`` one after the other, as libsndfile wants a file: read, seek and tell.

    ``endless``: it claims to be longer than any file, so that no length is estimated from its size.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece], endless: bool = False) -> None:
        self._file, self._pieces = file, pieces
        self._ends = list(accumulate(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces))
        self._claimed = ENDLESS if endless else self._ends[-1] if pieces else 0
        self._place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = max(0, offset + (0, self._place, self._claimed)[whence])
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, count: int = -1) -> bytes:
        """At most ``count`` bytes; fewer only at the end. A disk's error ends the file: within a decoder none can be
        raised."""
        if self._claimed - TAG <= self._place < self._claimed == ENDLESS:
            size = min(count, self._claimed - self._place)
            self._place += size
            return bytes(size)
        found = []
        left = self._claimed if count < 0 else count
        number = bisect_right(self._ends, self._place)
        while left > 0 and number < len(self._pieces):
            piece, end = self._pieces[number], self._ends[number]
            size = min(left, end - self._place)
            if isinstance(piece, bytes):
                first = len(piece) - (end - self._place)
                data = piece[first : first + size]
            else:
                try:
                    self._file.seek(piece[1] - (end - self._place))
                    data = self._file.read(size)
                except OSError:
                    data = b""
            found.append(data)
            self._place += len(data)
            if len(data) < size:
                break
            left -= size
            number += 1
        return b"".join(found)

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: bytes) -> int:
        return 0  # soundfile asks for the method, and never calls it
