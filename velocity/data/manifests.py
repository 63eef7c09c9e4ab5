"""Manifests on disk: uncompressed JSON lines, sorted by id, paths untouched, the same bytes each time.

Supervisions are sorted by the id of their recording first, so that the two can be read side by side. All are written
and read one item at a time: millions of utterances take no more memory than a few.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.data.sorting import Sorter
from velocity.errors import VelocityError
from velocity.files import atomic_directory

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    Item = Recording | SupervisionSegment | "Fault"

RECORDINGS, SUPERVISIONS, FAULTS = "recordings.jsonl", "supervisions.jsonl", "faults.jsonl"


@dataclass(frozen=True)
class Fault:
    """Something of a corpus that could not be read: it is in none of its other manifests."""

    corpus: str
    id: str  # <corpus>/<utterance>
    kind: str  # such as "unreadable-audio"
    where: str  # the file, with the number of the line where there is one

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def save_manifests(items: Iterable[Item], folder: str | Path) -> None:
    """Write the three manifests of a corpus, given in any order; the folder is there whole or not at all."""
    with atomic_directory(folder) as partial, ExitStack() as stack:
        sorters = {name: stack.enter_context(Sorter(partial)) for name in (RECORDINGS, SUPERVISIONS, FAULTS)}
        for item in items:
            name, place = _place(item)
            sorters[name].add(place, to_line(item.to_dict()))
        for name, sorter in sorters.items():
            write_lines(partial / name, (line for _, line in sorter))


def _place(item: Item) -> tuple[str, str]:
    """The manifest and what it is sorted by."""
    if hasattr(item, "recording_id"):
        return SUPERVISIONS, f"{item.recording_id}\0{item.id}"
    return FAULTS if isinstance(item, Fault) else RECORDINGS, item.id


def read_recordings(folder: str | Path) -> Iterator[Recording]:
    """One at a time, by id. Raises VelocityError when the manifest is missing or faulty."""
    from lhotse import Recording

    return map(Recording.from_dict, read_lines(Path(folder, RECORDINGS)))


def read_supervisions(folder: str | Path) -> Iterator[SupervisionSegment]:
    """One at a time, by id. Raises VelocityError when the manifest is missing or faulty."""
    from lhotse import SupervisionSegment

    return map(SupervisionSegment.from_dict, read_lines(Path(folder, SUPERVISIONS)))


def read_faults(folder: str | Path) -> Iterator[Fault]:
    """One at a time, by id. Raises VelocityError when the manifest is missing or faulty."""
    return (Fault(**line) for line in read_lines(Path(folder, FAULTS)))


def read_utterances(folder: str | Path) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every recording with its supervisions, by id, as they are written: Lhotse's objects take ten times as long.

    Raises VelocityError when a manifest is missing or faulty, or a supervision has no recording.
    """
    groups = groupby(read_lines(Path(folder, SUPERVISIONS)), key=lambda segment: segment["recording_id"])
    recording_id, segments = next(groups, (None, ()))
    for recording in read_lines(Path(folder, RECORDINGS)):
        if recording["id"] == recording_id:
            yield recording, list(segments)
            recording_id, segments = next(groups, (None, ()))
        else:
            yield recording, []
    if recording_id is not None:
        raise VelocityError(
            f"{Path(folder, SUPERVISIONS)}: {recording_id}: no such recording; run the stage fetch again"
        )


def count_lines(path: str | Path) -> int:
    """Raises VelocityError when ``path`` is missing."""
    return sum(1 for _ in open_lines(path))


def to_line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Lines that end in a line feed, on disk when this returns."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: str | Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, one at a time. Raises VelocityError when it is missing or no such."""
    for number, line in enumerate(open_lines(path), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise VelocityError(f"{path} line {number}: not JSON: {error}") from error


def open_lines(path: str | Path) -> Iterator[str]:
    """The lines of a file, one at a time. Raises VelocityError when it is missing."""
    try:
        with open(path, encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; run the earlier stages first") from error


def read_cuts(path: str | Path) -> Iterator[MonoCut]:
    """One at a time, in the file's order. Raises VelocityError when it is missing or is not a manifest."""
    from lhotse.serialization import deserialize_item

    return map(deserialize_item, read_lines(path))


def load_cuts(path: str | Path) -> CutSet:
    """All cuts of a file in memory, in its order. Raises VelocityError when it is missing or is not a manifest."""
    from lhotse import CutSet

    return CutSet.from_cuts(read_cuts(path))
