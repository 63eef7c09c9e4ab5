"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LOG_EVERY = 10.0  # seconds


class Progress:
    """``with Progress("finetune", total=600) as progress: progress.advance(loss=1.23)``."""

    bars = True  # on a terminal

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self.started = self.logged = time.monotonic()
        self.first = done
        self._bar = None

    def __enter__(self) -> Progress:
        if self.bars and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done, figures="")
        return self

    def advance(self, count: int = 1, /, **figures: float) -> None:
        """Add ``count`` finished items; ``figures`` are shown next to the count."""
        self.done += count
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, figures=shown)
        elif time.monotonic() - self.logged >= LOG_EVERY:
            self.logged = time.monotonic()
            rate = (self.done - self.first) / (self.logged - self.started)
            left = (self.total - self.done) / rate if rate else float("inf")
            print(f"{self.title}: {self.done}/{self.total}  {shown}  {left:.0f} s left", file=sys.stderr, flush=True)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif exception[0] is None:
            seconds = time.monotonic() - self.started
            print(f"{self.title}: {self.done}/{self.total} in {seconds:.1f} s", file=sys.stderr, flush=True)


def share_terminal() -> None:
    """Print lines on a terminal as well: this process is one of several that report there."""
    Progress.bars = False


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Yield ``items`` and show how many of ``total`` are finished."""
    with Progress(title, total) as progress:
        for item in items:
            yield item
            progress.advance()
