"""The file of a language model, read through a memory map in milliseconds.

    8 bytes   magic
    4 × 3     uint32, little-endian: version, length of the header, CRC-32 of all that follows
    header    JSON: {"order": …, "words": [offset, bytes], "arrays": {name: [dtype, length, offset]}}, padded to 8 bytes
              (with pronunciations also "pronunciations": [offset, bytes]; with a recurrent network "recurrent":
              [offset, bytes], and "network": [rows, share, step])
    body      the words, joined by line feeds, deflated; their pronunciations, joined by zero bytes, deflated; the
              recurrent network, as ``Recurrent.packed`` gives it, deflated; the arrays of ``velocity…tables.Level``,
              little-endian

Offsets count from the end of the header; every array begins at a multiple of eight.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from velocity.errors import VelocityError
from velocity.files import atomic_path
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.language_model.recurrent import Recurrent
from velocity.recognition.language_model.tables import SPECIAL, Level, Tables, Values

MAGIC = b"VELO-LM\n"
VERSION = 1
FIXED = len(MAGIC) + 12  # bytes before the header
DTYPES = {"uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "float32": "<f4"}
HEADER = 100  # bytes at most of an array's entry in the header, and its padding
LONGEST = 1 << 28  # bytes of inflated words, pronunciations, or network
BETWEEN = bytes([BLANK])  # pronunciations: no phone has this class
PHONES = bytes(range(BOUNDARY + 1, CLASSES))


def write_file(tables: Tables, path: str | Path) -> None:
    """The same tables give the same bytes."""
    body, entries, texts = bytearray(), {}, {}
    for name, text in _deflated(tables).items():
        texts[name] = [len(body), len(text)]
        body += text
    for name, array in _arrays(tables).items():
        body += bytes(-len(body) % 8)
        entries[name] = [array.dtype.name, len(array), len(body)]
        body += array.astype(DTYPES[array.dtype.name]).tobytes()
    if network := tables.recurrent:
        texts["network"] = [len(network.biases), network.share, network.step]
    header = json.dumps({"order": tables.order, **texts, "arrays": entries}).encode()
    header += b" " * (-(FIXED + len(header)) % 8)
    check = zlib.crc32(body, zlib.crc32(header))
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(MAGIC + np.array([VERSION, len(header), check], dtype="<u4").tobytes())
        file.write(header)
        file.write(body)


def read_file(path: str | Path) -> Tables:
    """Map the tables of ``path``. Raises VelocityError when the file is damaged or not one of these."""
    content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    version, length, check = np.frombuffer(content[len(MAGIC) : FIXED].tobytes().ljust(12, b"\0"), dtype="<u4").tolist()
    if version != VERSION:
        raise VelocityError(
            f"{path}: version {version} of the format is unknown; update velocity-asr or build it again"
        )
    if zlib.crc32(content[FIXED:]) != check:
        raise VelocityError(f"{path}: damaged or incomplete: its checksum differs; copy or build it again")
    try:
        header = json.loads(content[FIXED : FIXED + length].tobytes())
        return _tables(header, content[FIXED + length :])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error) as error:
        raise VelocityError(f"{path}: its header does not fit its contents ({error}); build it again") from error


def _tables(header: dict, body: np.ndarray) -> Tables:
    words, pronunciations = list(SPECIAL), None
    if text := _inflated(body, *header["words"]).decode():
        words += text.split("\n")
    if "pronunciations" in header:
        pronunciations = _pronunciations(_inflated(body, *header["pronunciations"]), len(words))
    arrays = {}
    for name, (dtype, length, offset) in header["arrays"].items():
        array = np.frombuffer(body, dtype=DTYPES[dtype], count=length, offset=offset)
        arrays[name] = array
    levels = []
    for n in range(1, header["order"] + 1):
        found = arrays.get(f"{n}.words")
        own = np.arange(len(words)) if found is None and n == 1 else found
        levels.append(
            Level(
                own,
                Values(arrays[f"{n}.log_probs"], arrays.get(f"{n}.log_probs.codebook")),
                arrays[f"{n}.contexts"],
                arrays[f"{n}.first"],
                Values(arrays[f"{n}.backoffs"], arrays.get(f"{n}.backoffs.codebook")),
            )
        )
    _check(words, levels)
    return Tables(words, levels, pronunciations, _network(header, body, len(words)))


def _network(header: dict, body: np.ndarray, words: int) -> Recurrent | None:
    if "recurrent" not in header:
        return None
    rows, share, step = header["network"]
    network = Recurrent.unpacked(_inflated(body, *header["recurrent"]), rows, share, step)
    if network.words.max(initial=0) >= words:
        raise ValueError("a word outside the vocabulary")
    return network


def _inflated(body: np.ndarray, start: int, size: int) -> bytes:
    return zlib.decompressobj().decompress(body[start : start + size].tobytes(), LONGEST)


def _pronunciations(text: bytes, words: int) -> list[bytes]:
    """Raises ValueError when there is not one for each of ``words`` words, or it has a class that is no phone."""
    found = [b""] * len(SPECIAL)
    if words > len(SPECIAL):
        found += text.split(BETWEEN)
    if len(found) != words:
        raise ValueError("pronunciations and vocabulary differ")
    if text.translate(None, PHONES + BETWEEN):
        raise ValueError("a pronunciation with a class that is no phone")
    return found


def _check(words: list[str], levels: list[Level]) -> None:
    """Raises ValueError when an index leads outside the tables, so that no look-up can."""
    if not levels:
        raise ValueError("no n-grams")
    for level, after in zip(levels, [*levels[1:], None], strict=True):
        rows, contexts, first = len(level.words), level.contexts, level.first
        children = len(after.words) if after is not None else 0
        values = ((level.log_probs, rows), (level.backoffs, len(contexts)))
        if any(len(each.codes) != length for each, length in values):
            raise ValueError("arrays of different lengths")
        if any((each.codebook is None) == (each.codes.dtype == np.uint8) for each, _ in values):
            raise ValueError("codes and codebooks do not belong together")
        if any(each.codebook is not None and len(each.codebook) != 256 for each, _ in values):
            raise ValueError("a codebook without 256 values")
        if rows and level.words.max() >= len(words):
            raise ValueError("a word outside the vocabulary")
        if len(first) != len(contexts) + 1 or first[0] != 0 or first[-1] != children or (first[1:] < first[:-1]).any():
            raise ValueError("n-grams outside their level")
        if len(contexts) and (contexts[-1] >= rows or (contexts[1:] <= contexts[:-1]).any()):
            raise ValueError("contexts outside their level")
    if len(levels[0].words) != len(words):
        raise ValueError("unigrams and vocabulary differ")


def _arrays(tables: Tables) -> dict[str, np.ndarray]:
    found = {}
    for n, level in enumerate(tables.levels, start=1):
        if n > 1:  # the words of unigrams are their ids
            found[f"{n}.words"] = level.words
        found |= {f"{n}.contexts": level.contexts, f"{n}.first": level.first}
        for name, values in (("log_probs", level.log_probs), ("backoffs", level.backoffs)):
            found[f"{n}.{name}"] = values.codes
            if values.codebook is not None:
                found[f"{n}.{name}.codebook"] = values.codebook
    return found


def _deflated(tables: Tables) -> dict[str, bytes]:
    texts = {"words": "\n".join(tables.words[len(SPECIAL) :]).encode()}
    if tables.pronunciations is not None:
        texts["pronunciations"] = BETWEEN.join(tables.pronunciations[len(SPECIAL) :])
    if tables.recurrent is not None:
        texts["recurrent"] = tables.recurrent.packed()
    return {name: zlib.compress(text, 9) for name, text in texts.items()}


def file_size(tables: Tables) -> int:
    """At least the bytes that ``write_file`` takes, by less than a hundred an array."""
    texts, arrays = _deflated(tables).values(), _arrays(tables).values()
    return FIXED + sum(HEADER + len(text) for text in texts) + sum(HEADER + array.nbytes for array in arrays)
