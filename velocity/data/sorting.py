"""Sorting more lines than memory holds: sorted runs on disk, then one merge (Knuth, TAOCP 5.4)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

RUN = 100_000  # lines sorted in memory at a time: about 200 MB of cuts


def sort_lines(keyed: Iterable[tuple[str, str]], folder: str | Path, run: int = RUN) -> Iterator[str]:
    """(key, line) pairs → the lines by key, those of equal keys as they came; lines end in a line feed, keys hold none.

    Of more than ``run`` pairs, sorted runs go to temporary files below ``folder`` while this is read.
    """
    keyed = iter(keyed)
    with TemporaryDirectory(prefix=".sorting-", dir=folder) as temporary, ExitStack() as files:
        runs = []
        while pairs := sorted(islice(keyed, run), key=lambda pair: pair[0]):
            if len(pairs) < run and not runs:
                yield from (line for _, line in pairs)
                return
            path = Path(temporary, str(len(runs)))
            with open(path, "w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{key}\t{line}" for key, line in pairs)
            runs.append(path)
        opened = [files.enter_context(open(path, encoding="utf-8", newline="\n")) for path in runs]
        split = [(line.split("\t", 1) for line in file) for file in opened]
        yield from (line for _, line in heapq.merge(*split, key=lambda pair: pair[0]))
