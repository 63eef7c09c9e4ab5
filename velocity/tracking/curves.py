"""The curves of a running training as DVCLive draws them, for ``dvc plots`` and DVC's extension for VS Code.

They are nobody's output: git ignores the folder, DVC hashes none of it, no experiment is committed.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

Entry = tuple[str, float, int, int]  # metric, value, time in ms, step


class Curves:
    """The curves in ``folder``, which are gone on with if they are of the run ``identity``; none without a folder."""

    def __init__(self, folder: Path | None, identity: str | None) -> None:
        self.folder = folder if Path(".dvc").is_dir() else None  # DVCLive would make a DVC project of any other folder
        self.identity = identity
        self._live: Any = None
        self._last: dict[str, int] = {}  # metric → the last step that is drawn

    def draw(self, entries: list[Entry]) -> None:
        if self.folder is None or not entries:
            return
        if self._live is None:
            self._open(self.folder)
        for step, values in groupby(entries, key=lambda entry: entry[3]):
            self._live.step = step
            for name, value, _, _ in values:
                if step > self._last.get(name, -1):
                    self._live.log_metric(name, value)
                    self._last[name] = step
        self._live.next_step()

    def close(self, finished: bool) -> None:
        """A ``finished`` run is not gone on with."""
        if self._live is not None:
            self._live.end()
            if finished:
                (self.folder / "identity").unlink(missing_ok=True)

    def _open(self, folder: Path) -> None:
        from dvclive import Live

        mark = folder / "identity"
        resumed = self.identity is not None and mark.exists() and mark.read_text() == self.identity
        if resumed:
            for path in (folder / "plots/metrics").rglob("*.tsv"):
                name = str(path.relative_to(folder / "plots/metrics").with_suffix(""))
                self._last[name] = int(path.read_text().splitlines()[-1].split("\t")[0])
        self._live = Live(str(folder), resume=resumed, save_dvc_exp=False, dvcyaml=None)
        mark.write_text(self.identity or "")
