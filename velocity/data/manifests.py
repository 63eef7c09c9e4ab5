"""Lhotse manifests on disk: uncompressed JSON lines, sorted as given, paths untouched, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_text

if TYPE_CHECKING:
    from lhotse import RecordingSet, SupervisionSet


def save_manifests(recordings: RecordingSet, supervisions: SupervisionSet, folder: str | Path) -> None:
    with atomic_directory(folder) as partial:
        write_lines(partial / "recordings.jsonl", recordings)
        write_lines(partial / "supervisions.jsonl", supervisions)


def load_manifests(*folders: str | Path) -> tuple[RecordingSet, SupervisionSet]:
    """All of the folders, one after another. Raises VelocityError when a file is missing or is not a manifest."""
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    recordings, supervisions = [], []
    for folder in folders:
        recordings += [Recording.from_dict(line) for line in read_lines(Path(folder, "recordings.jsonl"))]
        supervisions += [SupervisionSegment.from_dict(line) for line in read_lines(Path(folder, "supervisions.jsonl"))]
    return RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(supervisions)


def write_lines(path: str | Path, items: Iterable[Any]) -> None:
    """One Lhotse item a line."""
    write_text(path, "".join(json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in items))


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """Raises VelocityError when ``path`` is missing or is not JSON lines."""
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; run the stages before") from error
    except ValueError as error:
        raise VelocityError(f"{path}: not JSON lines: {error}") from error
