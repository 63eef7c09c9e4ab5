"""The file of weights in a Core ML package (``StorageFormat.hpp`` of coremltools): arrays one after the other.

A header with their number and the version; then for each array, at a multiple of 64 bytes, a record of 64 bytes (mark,
type, size in bytes, where the values are) and its values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from velocity.errors import VelocityError

ALIGNMENT = 64
VERSION = 2
MARK = 0xDEADBEEF
FLOAT16, INT8 = 1, 4  # of the types of its own that the format has


@dataclass(frozen=True)
class Blob:
    kind: int
    values: bytes


def read_blob(file: bytes, record: int) -> Blob:
    """The array whose record is at ``record``. Raises VelocityError where there is none."""
    try:
        mark, kind, size, start = struct.unpack_from("<IIQQ", file, record)
    except struct.error:
        mark = None
    if mark != MARK or start + size > len(file):
        raise VelocityError("weights/weight.bin: not the weights of this program; export the model again")
    return Blob(kind, file[start : start + size])


def write_blobs(blobs: Iterable[Blob]) -> tuple[bytes, list[int]]:
    """The file, and where the record of each array is."""
    file, records = bytearray(ALIGNMENT), []
    for blob in blobs:
        records.append(len(file))
        start = len(file) + ALIGNMENT
        file += struct.pack("<IIQQ", MARK, blob.kind, len(blob.values), start).ljust(ALIGNMENT, b"\0")
        file += blob.values + bytes(-len(blob.values) % ALIGNMENT)
    struct.pack_into("<II", file, 0, len(records), VERSION)
    return bytes(file), records
