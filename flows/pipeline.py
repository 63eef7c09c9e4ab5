"""The pipeline as a Prefect flow: one task run for each stage of DVC's own graph.

DVC alone decides what is up to date; Prefect schedules, logs and shows. ``python -m flows.pipeline --help``.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from httpx import TransportError
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from rich.table import Table

from flows.processes import console, held, running
from velocity.errors import VelocityError
from velocity.tracking import flatten, recorders_at_hand

LOCK = Path(".dvc/tmp/velocity-pipeline.lock")
REPORT = Path("reports/README.md")
# What DVC says besides the output of a stage: it goes to Prefect's log, not to the terminal.
CHATTER = re.compile(
    r"\s*$|> |(Running|Stage) (stage )?'|(Generating|Updating) lock file|Data and pipelines are up|Use `dvc push`"
    r"|To (track the changes with git|enable auto staging), run|\s+(git add|dvc config core.autostage) "
)

# Seconds to wait before each further try of a stage that ended in an error. A network may come back, and a training
# goes on from its checkpoint; what else fails would fail again.
TRIES = {"fetch": [10, 60], "pretrain": [10], "finetune": [10]}


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
    with held(LOCK, "Another pipeline is running in this folder") as lock, recorders_at_hand():
        outcomes = bring_up_to_date(stages_in_order(targets or []), lock, force=force)
        publish(outcomes)
    return outcomes


def bring_up_to_date(stages: list[str], lock: int, folder: str = ".", force: bool = False) -> list[Outcome]:
    """A task run for each of the stages, tried again where that makes sense; then a table of how they ended.

    ``lock``: of ``folder``, for the commands to hold. Raises StageFailed for the first stage that fails.
    """
    outcomes: list[Outcome] = []
    try:
        for stage in stages:
            delays = TRIES.get(stage.partition("@")[0], [])
            again = run_stage.with_options(retries=len(delays), retry_delay_seconds=delays)
            outcomes.append(again(stage, lock, folder, force))
    finally:
        if outcomes:
            console.print(summary(outcomes))
    return outcomes


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    retry_condition_fn=lambda task, run, state: worth_another_try(state.result(raise_on_failure=False)),
)
def run_stage(stage: str, lock: int, folder: str, force: bool) -> Outcome:
    """``dvc repro --single-item STAGE`` in ``folder``, its lines going to the terminal and to Prefect's log."""
    logger = get_run_logger()
    console.print(f"[bold]{stage}[/bold]")
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", *["--force"] * force, stage]
    started = time.monotonic()
    lines: list[str] = []
    with running(command, lock, folder) as process:
        for line in map(str.rstrip, process.stdout):
            lines.append(line)
            if line.strip():
                logger.info(line)
            if not CHATTER.match(line):
                console.print(f"  {line}", markup=False)
    if process.returncode != 0:
        raise failure(stage, lines, process.returncode)
    outcome = Outcome(stage, state_of(lines), time.monotonic() - started)
    console.print(f"  [green]{outcome.state}[/green], {outcome.seconds:.1f} s")
    return outcome


def stages_in_order(targets: list[str], folder: str = ".") -> list[str]:
    """The names of the stages to bring up to date, each after those it depends on; ties stand as in ``dvc.yaml``.

    ``targets`` are stages of the current folder; without any, all of ``folder`` are wanted.
    Raises VelocityError for an unknown stage or a faulty ``dvc.yaml``.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(folder) as repo:
            graph = repo.index.graph  # edges point from a stage to what it depends on
            wanted = {stage for target in targets for stage in repo.stage.collect(target)} or set(graph)
            wanted |= {needed for stage in wanted for needed in networkx.descendants(graph, stage)}
            position = {stage: index for index, stage in enumerate(repo.index.stages)}
            ordered = networkx.lexicographical_topological_sort(graph.reverse(), key=position.__getitem__)
            return [within(folder, stage.addressing) for stage in ordered if stage in wanted and stage.cmd]
    except DvcException as error:
        raise VelocityError(" ".join(str(error).split())) from error


def within(folder: str, address: str) -> str:
    """The name that a stage has in its own folder, of the one that DVC gives it in this one."""
    return address.removeprefix(f"{folder}/").removeprefix("dvc.yaml:")


def state_of(lines: list[str]) -> str:
    """What DVC says it did."""
    if any(line.startswith("Stage '") and line.endswith("didn't change, skipping") for line in lines):
        return "up to date"
    return "restored" if any("is cached - skipping run" in line for line in lines) else "ran"


def failure(stage: str, lines: list[str], status: int) -> StageFailed:
    """The stage's own last words, or DVC's if it did not come to start it. ``status``: how DVC ended."""
    if status < 0:
        return StageFailed(stage, f"DVC was killed by {signal.Signals(-status).name}", status)
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


def publish(outcomes: list[Outcome], folder: str = ".") -> None:
    """Leave the times, DVC's metrics and the report of ``folder`` with the run in Prefect."""
    from dvc.repo import Repo

    create_table_artifact([vars(outcome) for outcome in outcomes], key="stages", description="How each stage ended")
    with Repo(folder) as repo:
        files = repo.metrics.show().get("", {}).get("data", {})
    rows = [
        {"file": path, "metric": name, "value": value}
        for path, content in files.items()
        for name, value in flatten(content.get("data", {}))
    ]
    create_table_artifact(rows, key="metrics", description="The metrics that dvc.yaml declares")
    report = Path(folder, REPORT)
    if report.exists():
        create_markdown_artifact(report.read_text(encoding="utf-8"), key="report")


@contextmanager
def told_in_one_line(kept: str, status: int = 1) -> Iterator[None]:
    """End the command with a line on stderr when the block is interrupted (status 130) or fails (``status``).

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
        reason = str(error) or type(error).__name__
        if isinstance(error, TransportError):
            reason = f"Prefect's server does not answer ({reason}); the finished {kept} are kept: start it (`make ui`)"
            reason += ", or unset PREFECT_API_URL, and give the same command again"
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(status)


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
