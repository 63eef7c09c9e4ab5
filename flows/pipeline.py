"""The pipeline as a Prefect flow: one task run for each stage of DVC's own graph.

DVC alone decides what is up to date; Prefect schedules, logs and shows. ``python -m flows.pipeline --help``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from rich.console import Console
from rich.table import Table

from velocity.errors import VelocityError
from velocity.tracking import flatten

LOCK = Path(".dvc/tmp/velocity-pipeline.lock")
REPORT = Path("reports/README.md")
# What DVC says besides the output of a stage: it goes to Prefect's log, not to the terminal.
CHATTER = re.compile(
    r"\s*$|> |(Running|Stage) (stage )?'|(Generating|Updating) lock file|Data and pipelines are up|Use `dvc push`"
    r"|To (track the changes with git|enable auto staging), run|\s+(git add|dvc config core.autostage) "
)

console = Console(highlight=False, soft_wrap=True)


class StageFailed(Exception):
    """A stage ended with an error. ``status`` is its own exit status, None when DVC did not come to start it."""

    def __init__(self, stage: str, reason: str, status: int | None) -> None:
        super().__init__(f"stage {stage} failed: {reason}")
        self.status = status


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: ran, up to date (nothing to do) or restored (its outputs were in DVC's cache)."""

    stage: str
    state: str
    seconds: float


@flow(name="pipeline")
def pipeline(targets: list[str] | None = None, force: bool = False) -> list[Outcome]:
    """Bring the stages named in ``targets``, and all they depend on, up to date (default: every stage).

    One pipeline runs at a time in a folder: a second one waits for the first.
    Raises StageFailed for the first stage that fails, VelocityError for an unknown stage or a faulty ``dvc.yaml``.
    """
    outcomes: list[Outcome] = []
    with only_one():
        try:
            for stage in stages_in_order(targets or []):
                retries = 2 if stage.startswith("fetch") else 0
                outcomes.append(run_stage.with_options(retries=retries)(stage, force))
        finally:
            if outcomes:
                console.print(summary(outcomes))
        publish(outcomes)
    return outcomes


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    retry_delay_seconds=10,
    retry_condition_fn=lambda task, run, state: worth_another_try(state.result(raise_on_failure=False)),
)
def run_stage(stage: str, force: bool) -> Outcome:
    """``dvc repro --single-item STAGE``, its lines going to the terminal and to Prefect's log."""
    logger = get_run_logger()
    console.print(f"[bold]{stage}[/bold]")
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *["--force"] * force, stage]
    started = time.monotonic()
    lines: list[str] = []
    with running(command) as process:
        for line in map(str.rstrip, process.stdout):
            lines.append(line)
            if line.strip():
                logger.info(line)
            if not CHATTER.match(line):
                console.print(f"  {line}", markup=False)
    if process.returncode != 0:
        raise failure(stage, lines)
    outcome = Outcome(stage, state_of(lines), time.monotonic() - started)
    console.print(f"  [green]{outcome.state}[/green], {outcome.seconds:.1f} s")
    return outcome


def stages_in_order(targets: list[str]) -> list[str]:
    """The names of the stages to bring up to date, each after those it depends on; ties stand as in ``dvc.yaml``."""
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph = repo.index.graph  # edges point from a stage to what it depends on
            wanted = {stage for target in targets for stage in repo.stage.collect(target)} or set(graph)
            wanted |= {needed for stage in wanted for needed in networkx.descendants(graph, stage)}
            position = {stage: index for index, stage in enumerate(repo.index.stages)}
            ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__)
            return [stage.addressing for stage in ordered if stage in wanted and stage.cmd]
    except DvcException as error:
        raise VelocityError(" ".join(str(error).split())) from error


@contextmanager
def only_one() -> Iterator[None]:
    """Hold the folder's pipeline lock, saying so when another pipeline has it."""
    from filelock import FileLock, Timeout

    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print("Another pipeline is running in this folder; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str] | None = None, keep: tuple[int, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, which ends as a whole when the block is interrupted.

    ``environment``: variables to set besides this process's own. ``keep``: files that stay open for the command.
    """
    own = Path(sys.executable).parent  # so that `python` in dvc.yaml is this Python
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}"} | dict(environment or {}),
        pass_fds=keep,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise


def state_of(lines: list[str]) -> str:
    """What DVC says it did."""
    if any(line.startswith("Stage '") and line.endswith("didn't change, skipping") for line in lines):
        return "up to date"
    return "restored" if any("is cached - skipping run" in line for line in lines) else "ran"


def failure(stage: str, lines: list[str]) -> StageFailed:
    """The stage's own last words, or DVC's if it did not come to start it."""
    said = [line.strip() for line in lines if not CHATTER.match(line)]
    from_dvc = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    own = [line.removeprefix("error: ") for line in said if not line.startswith("ERROR: ")]
    exited = next((found for line in from_dvc if (found := re.search(r"exited with (-?\d+)$", line))), None)
    if exited and own:
        return StageFailed(stage, own[-1], int(exited[1]))
    return StageFailed(stage, [*from_dvc, *own, "it said nothing"][0], int(exited[1]) if exited else None)


def worth_another_try(error: Any) -> bool:
    """A network may come back. A user's mistake (exit status 2), or a dependency that is not there, stays."""
    return isinstance(error, StageFailed) and error.status not in (None, 2)


def summary(outcomes: list[Outcome]) -> Table:
    table = Table("stage", "state", "seconds", title="Pipeline")
    table.columns[2].justify = "right"
    for outcome in outcomes:
        table.add_row(outcome.stage, outcome.state, f"{outcome.seconds:.1f}")
    table.add_section()
    table.add_row("total", "", f"{sum(outcome.seconds for outcome in outcomes):.1f}")
    return table


def publish(outcomes: list[Outcome]) -> None:
    """Leave the times, DVC's metrics and the report with the run in Prefect."""
    from dvc.repo import Repo

    create_table_artifact([vars(outcome) for outcome in outcomes], key="stages", description="How each stage ended")
    with Repo() as repo:
        files = repo.metrics.show().get("", {}).get("data", {})
    rows = [
        {"file": path, "metric": name, "value": value}
        for path, content in files.items()
        for name, value in flatten(content.get("data", {}))
    ]
    create_table_artifact(rows, key="metrics", description="The metrics that dvc.yaml declares")
    if REPORT.exists():
        create_markdown_artifact(REPORT.read_text(encoding="utf-8"), key="report")


@contextmanager
def told_in_one_line(kept: str) -> Iterator[None]:
    """End the command with a line on stderr when the block is interrupted (status 130) or fails (1).

    VELOCITY_DEBUG lets the traceback through. ``kept`` is what is finished piece by piece, such as stages.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted: the finished {kept} are kept; the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("VELOCITY_DEBUG"):
            raise
        print(f"error: {error if str(error) else type(error).__name__}", file=sys.stderr)
        sys.exit(1)


def main(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages to bring up to date (default: all).")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Run the stages even if nothing changed.")] = False,
) -> None:
    """Run the pipeline in this folder: every stage of dvc.yaml that is out of date, in order."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # an orderly end stops Prefect too
    with told_in_one_line("stages"):
        stages_in_order(targets or [])  # a mistyped name shows at once, not after Prefect has started
        console.print("Starting Prefect (10 to 30 seconds)")
        pipeline(targets, force)


if __name__ == "__main__":
    typer.run(main)
