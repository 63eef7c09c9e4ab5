"""DVC: the only caller of it, and the only reader of what it prints. DVC alone decides what is up to date.

Not called ``dvc.py``: a worker that loads a flow from its file puts this folder on Python's path, before the libraries.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.processes import running
from velocity.errors import VelocityError
from velocity.journal import flatten

# What DVC prints besides the output of a stage: it goes to Prefect's log, not to the terminal.
CHATTER = re.compile(
    r"\s*$|> |(Running|Stage) (stage )?'|(Generating|Updating) lock file|Data and pipelines are up|Use `dvc push`"
    r"|To (track the changes with git|enable auto staging), run|\s+(git add|dvc config core.autostage) "
    r"|Reproducing experiment|Ran experiment|Experiment results have been applied"
    r"|WARNING: (The following untracked files were present|'data/validated/\S+' is empty)|\t"
)
STATES = {
    re.compile(r"Running stage '(.+)':"): "ran",
    re.compile(r"Stage '(.+)' is cached - skipping run, checking out outputs"): "restored",
    re.compile(r"Stage '(.+)' didn't change, skipping"): "up to date",
}


class StageFailed(Exception):
    """A stage ended with an error. ``status`` is its own exit status, None when DVC did not start it."""

    def __init__(self, stage: str, reason: str, status: int | None) -> None:
        super().__init__(f"stage {stage} failed: {reason}")
        self.status = status


@dataclass(frozen=True)
class Line:
    """``own``: of the stage itself, or an error. ``stage`` and ``state``: where DVC says what becomes of a stage."""

    text: str
    own: bool
    stage: str | None = None
    state: str | None = None


@dataclass
class Command:
    """A DVC command while it runs. ``stages``: those it has come to, each ran | restored | up to date."""

    process: subprocess.Popen[str]
    lines: list[Line] = field(default_factory=list)
    stages: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Line]:
        """The lines as they come."""
        for text in map(str.rstrip, self.process.stdout):
            line = read_line(text)
            if line.stage:
                self.stages[line.stage] = line.state
            self.lines.append(line)
            yield line

    def check(self, stage: str) -> None:
        """Raises StageFailed when the command has failed; ``stage``: where it came to none."""
        if status := self.process.wait():
            ran = [name for name, state in self.stages.items() if state == "ran"]
            raise failure(ran[-1] if ran else stage, [line.text for line in self.lines if line.own], status)


@contextmanager
def command(
    *arguments: str, lock: int, folder: Path | str = ".", environment: Mapping[str, str] | None = None
) -> Iterator[Command]:
    """Run ``dvc ARGUMENTS`` in ``folder``; ``lock`` and ``environment`` as for ``flows.processes.running``."""
    with running([sys.executable, "-m", "dvc", *arguments], lock, folder, environment) as process:
        yield Command(process)


def read_line(text: str) -> Line:
    for pattern, state in STATES.items():
        if found := pattern.fullmatch(text):
            return Line(text, False, found[1], state)
    return Line(text, own=not CHATTER.match(text))


def failure(stage: str, lines: list[str], status: int) -> StageFailed:
    """The stage's own last words, or DVC's if it did not start the stage. ``status``: how DVC ended."""
    if status < 0:
        return StageFailed(stage, f"DVC was killed by {signal.Signals(-status).name}", status)
    from_dvc = [line.strip().removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    own = [line.strip().removeprefix("error: ") for line in lines if not line.startswith("ERROR: ")]
    exited = next((found for line in from_dvc if (found := re.search(r"exited with (-?\d+)$", line))), None)
    if exited and own:
        return StageFailed(stage, own[-1], int(exited[1]))
    return StageFailed(stage, [*from_dvc, *own, "no message"][0], int(exited[1]) if exited else None)


@contextmanager
def repository(folder: Path | str = ".") -> Iterator[Any]:
    """DVC's own view of the project in ``folder``. Its errors become VelocityErrors of one line."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder)) as repo:
            yield repo
    except DvcException as error:
        raise VelocityError(" ".join(str(error).split())) from error


def settle_git() -> None:
    """Have DVC do without git in a project that has none, such as one that was downloaded as ZIP.

    The setting stays, in .dvc/config.local, so that `dvc repro` works there as well.
    """
    from dvc.config import Config

    here = Path.cwd()
    if any((folder / ".git").exists() for folder in (here, *here.parents)) or not Path(".dvc").is_dir():
        return
    config = Config(dvc_dir=str(here / ".dvc"))
    if not config["core"].get("no_scm"):
        with config.edit("local") as local:
            local["core"]["no_scm"] = True
        print("note: no git repository here, so DVC works without one; after `git init`: "
              "dvc config --local --unset core.no_scm", file=sys.stderr)  # fmt: skip


def stage_graph(targets: list[str], folder: Path | str = ".") -> dict[str, set[str]]:
    """The stages to bring up to date, each with those of them it depends on directly, which come before it; ties stand
    as in dvc.yaml.

    ``targets`` are stages of the current folder; without any, all of ``folder`` are requested.
    Raises VelocityError for an unknown stage or a faulty dvc.yaml.
    """
    import networkx

    with repository(folder) as repo:
        graph = repo.index.graph  # edges point from a stage to what it depends on
        requested = {stage for target in targets for stage in repo.stage.collect(target)} or set(graph)
        requested |= {needed for stage in requested for needed in networkx.descendants(graph, stage)}
        position = {stage: index for index, stage in enumerate(repo.index.stages)}
        ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__)
        names = {stage: _name_in(folder, stage.addressing) for stage in ordered if stage in requested and stage.cmd}
        return {name: {names[needed] for needed in graph[stage] if needed in names} for stage, name in names.items()}


def out_of_date(folder: Path | str = ".") -> list[str]:
    """The stages that are not as DVC left them."""
    with repository(folder) as repo:
        return [_name_in(folder, stage) for stage in repo.status()]


def _name_in(folder: Path | str, address: str) -> str:
    """The name of a stage in its own folder, from DVC's name for it in the current one."""
    return address.removeprefix(f"{folder}/").removeprefix("dvc.yaml:")


def metrics(folder: Path | str = ".") -> list[dict[str, Any]]:
    """What dvc.yaml declares as metrics: a row a figure."""
    with repository(folder) as repo:
        files = repo.metrics.show().get("", {}).get("data", {})
    return [
        {"file": path, "metric": name, "value": value}
        for path, content in files.items()
        for name, value in flatten(content.get("data", {}))
    ]


def cache_folder() -> Path:
    with repository() as repo:
        return Path(repo.cache.local_cache_dir).absolute()


def default_remote() -> str | None:
    with repository() as repo:
        return repo.config["core"].get("remote")


def remove_damaged_lock(folder: Path) -> None:
    """Remove a dvc.lock that DVC was killed while writing: its run cache also knows what was done."""
    from dvc.dvcfile import LOCK_FILE, Lockfile
    from dvc.exceptions import DvcException

    path = folder / LOCK_FILE
    with repository(folder) as repo:
        try:
            Lockfile(repo, str(path)).load()
        except DvcException:
            path.unlink()


def diff(kind: str, *revisions: str) -> str:
    """A Markdown table of the ``params`` or ``metrics`` that differ; empty when none do."""
    rows = _output(kind, "diff", "--md", *revisions).strip()
    return rows if rows.count("\n") > 1 else ""


def plots(*revisions: str) -> dict[str, list[dict[str, Any]]]:
    """File → the Vega-Lite specifications of its plots, both revisions in each."""
    drawn = json.loads(_output("plots", "diff", "--json", *revisions))["data"]
    return {path: [plot["content"] for plot in found if plot["type"] == "vega"] for path, found in drawn.items()}


def _output(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise VelocityError(f"dvc {' '.join(arguments[:2])}: {reason}")
    return done.stdout
