"""Long measurements part by part: what is interrupted goes on where it was, and other machines may help.

A manifest is cut into slices; the rows that a slice gives are kept under a key of all they follow from. So a part is
computed once, whoever comes first: this process, the one that was killed, or a worker on a shared file system.
Everything below ``data/parts`` may be deleted at any time; it is then computed anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from velocity.data.manifests import read_lines, write_lines
from velocity.files import atomic_path

FOLDER = Path("data/parts")
SIZE = 2000  # lines a part, on average
LARGEST = 4  # times that

Rows = list[dict[str, Any]]
Compute = Callable[[Rows], Rows]


@dataclass(frozen=True)
class Part:
    """A slice of a manifest, and the file that holds or will hold its rows."""

    lines: list[str]
    path: Path

    def rows(self, compute: Compute) -> Rows:
        """The rows of this part: those on disk, else computed from its lines and then on disk."""
        if not self.path.exists():
            rows = compute([json.loads(line) for line in self.lines])
            with atomic_path(self.path) as partial:
                write_lines(partial, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return list(read_lines(self.path))


def map_parts(
    work: str, lines: Iterable[str], compute: Compute, size: int = SIZE, folder: Path = FOLDER
) -> Iterator[dict[str, Any]]:
    """The rows ``compute`` gives for the objects of a manifest, in its order; memory holds one part.

    ``work`` names the measurement and its version: it must change when ``compute`` gives other rows. What a row holds
    must follow from the line and from the audio it names, and survive JSON.
    """
    for part in parts(work, lines, size, folder):
        yield from part.rows(compute)


def parts(work: str, lines: Iterable[str], size: int = SIZE, folder: Path = FOLDER) -> Iterator[Part]:
    """The slices of a manifest. A slice ends where a line's hash says so (content-defined chunking, as in rsync).

    So lines that are added change the slices that they fall into, and none behind them.
    """
    taken: list[str] = []
    for line in lines:
        taken.append(line)
        if int.from_bytes(sha256(line.encode()).digest()[:8], "big") % size == 0 or len(taken) == LARGEST * size:
            yield _part(work, taken, folder)
            taken = []
    if taken:
        yield _part(work, taken, folder)


def _part(work: str, lines: list[str], folder: Path) -> Part:
    return Part(lines, Path(folder, work, f"{part_key(work, lines)}.jsonl"))


def part_key(work: str, lines: Iterable[str]) -> str:
    """SHA-256 of what a part follows from: work, lines, size and time of change of each audio file they name."""
    key = sha256(work.encode())
    for line in lines:
        key.update(line.encode())
        for path in _audio_files(json.loads(line)):
            key.update(_state(path).encode())
    return key.hexdigest()


def _audio_files(item: dict[str, Any]) -> list[str]:
    """Of a recording or a cut as Lhotse writes it; none of other lines."""
    sources = item.get("recording", item).get("sources", [])
    return [source["source"] for source in sources if source["type"] == "file"]


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return f"{path} missing\n"
    return f"{path} {status.st_size} {status.st_mtime_ns}\n"
