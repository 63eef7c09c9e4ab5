"""Sorting more lines than memory holds: sorted runs on disk, then one merge (Knuth, TAOCP 5.4)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

RUN = 100_000  # lines sorted in memory at a time: about 150 MB of cuts


class Sorter:
    """Takes lines with keys in any order, gives them by key, as often as wanted; equal keys as they came.

    ``with Sorter(folder) as sorter: sorter.add(key, line)``, then ``for key, line in sorter``. Lines end in a line
    feed; keys hold no tab. Of more than ``run`` lines, sorted runs go to temporary files below ``folder``, or where
    the system keeps them (TMPDIR).
    """

    def __init__(self, folder: str | Path | None = None, run: int = RUN) -> None:
        self._folder = TemporaryDirectory(prefix=".sorting-", dir=folder)
        self._run = run
        self._files: list[Path] = []
        self._pairs: list[tuple[str, str]] = []

    def __enter__(self) -> Sorter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()

    def add(self, key: str, line: str) -> None:
        self._pairs.append((key, line))
        if len(self._pairs) == self._run:
            path = Path(self._folder.name, str(len(self._files)))
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{key}\t{line}" for key, line in self._sorted())
            self._files.append(path)
            self._pairs.clear()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        with ExitStack() as stack:
            files = [stack.enter_context(open(path, encoding="utf-8", newline="\n")) for path in self._files]
            runs = [(tuple(line.split("\t", 1)) for line in file) for file in files]
            yield from heapq.merge(*runs, self._sorted(), key=_key)

    def _sorted(self) -> list[tuple[str, str]]:
        self._pairs.sort(key=_key)
        return self._pairs


def _key(pair: tuple[str, str]) -> str:
    return pair[0]
