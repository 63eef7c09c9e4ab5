"""The folder that an adaptation works in: a project of its own for the stages, which a later run goes on in."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError
from velocity.files import read_text, write_json, write_text

INPUTS, DONE = "inputs.json", "done"


class Workspace:
    """``inputs`` is all that the result depends on: a folder of other inputs is emptied, one of the same goes on.
    ``steps``: the names that are announced.

    Raises VelocityError for a folder with something else in it.
    """

    def __init__(self, folder: Path, inputs: Any, steps: Sequence[str] = ()) -> None:
        self.folder, self._steps = folder, list(steps)
        known = folder / INPUTS
        if folder.exists() and not known.is_file() and any(folder.iterdir()):
            raise VelocityError(f"{folder}: exists and is not an unfinished adaptation; rename or remove it")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f".{INPUTS}", inputs)
        wanted = read_text(folder / f".{INPUTS}")
        if known.is_file() and read_text(known) == wanted:
            if any((folder / DONE).glob("*")):
                print(f"adapt: resuming in {folder}", file=sys.stderr, flush=True)
            return
        if known.is_file():
            print(
                f"adapt: the speech or the settings have changed, starting over in {folder}",
                file=sys.stderr,
                flush=True,
            )
            shutil.rmtree(folder)
        write_text(known, wanted)

    def announce(self, step: str, detail: str = "") -> None:
        """Print which step comes now, unless a run before has finished it."""
        if not self._has(step):
            number = f"step {self._steps.index(step) + 1} of {len(self._steps)}"
            print(f"adapt: {number}: {step}{detail and ', '}{detail}", file=sys.stderr, flush=True)

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Run ``work``, unless a run before has finished it."""
        if not self._has(name):
            work()
            write_text(self.folder / DONE / name, "")

    def _has(self, name: str) -> bool:
        return (self.folder / DONE / name).exists()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
