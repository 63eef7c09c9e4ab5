"""The pipeline as a Prefect flow: one task run for each stage of DVC's own graph.

DVC alone decides what is up to date; Prefect schedules, logs and shows. ``python -m flows.pipeline --help``.
"""

from __future__ import annotations

import os
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
from prefect.futures import PrefectFuture, as_completed
from rich.markup import escape
from rich.table import Table

from flows import dvc_commands
from flows.dvc_commands import StageFailed
from flows.processes import console, end_running, locked, start_prefect
from velocity.config import load_params
from velocity.project import PARAMS, REPORT

LOCK = Path(".dvc/tmp/velocity-pipeline.lock")

# Seconds to wait before each further try of a stage that ended in an error. A network may come back, and a training
# goes on from its checkpoint; what else fails would fail again.
TRIES = {"fetch": [10, 60], "pretrain": [10], "finetune": [10]}

AT_ONCE = min(4, os.cpu_count() or 1)  # stages
ALONE = {"pretrain", "finetune", "evaluate", "benchmark"}  # they use every core, or measure how fast a core is


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
    with locked(LOCK, "Another pipeline is running in this folder") as lock:
        outcomes = bring_up_to_date(dvc_commands.stage_graph(targets or []), lock, force=force)
        publish(outcomes)
    return outcomes


def bring_up_to_date(graph: dict[str, set[str]], lock: int, folder: str = ".", force: bool = False) -> list[Outcome]:
    """A task run for each stage of ``graph`` once those it depends on have ended; then a table of how they ended.

    Stages that do not depend on each other run at the same time, ``AT_ONCE`` at most. Some are retried.
    ``graph``: as ``dvc_commands.stage_graph`` gives it; ``lock``: of ``folder``, inherited by the commands.
    Raises StageFailed for the first stage that fails, after those that were running then have ended.
    """
    outcomes: list[Outcome] = []
    tasks: dict[PrefectFuture[Outcome], str] = {}
    waiting, failed = dict(graph), None
    try:
        while waiting or tasks:
            for stage in [] if failed else startable(waiting, {*tasks.values()}):
                delays = TRIES.get(stage.partition("@")[0], [])
                again = run_stage.with_options(retries=len(delays), retry_delay_seconds=delays)
                tasks[again.submit(stage, lock, folder, force)] = stage
                del waiting[stage]
            if not tasks:
                break
            ended = next(as_completed([*tasks]))
            del tasks[ended]
            try:
                outcomes.append(ended.result())
            except StageFailed as error:
                failed = failed or error
    except BaseException:
        end_running()
        raise
    finally:
        if outcomes:
            console.print(summary(outcomes))
    if failed:
        raise failed
    return outcomes


def startable(waiting: dict[str, set[str]], running: set[str]) -> list[str]:
    """Those of the ``waiting`` stages (with what each depends on) that may start now, beside the ``running`` ones."""
    starting: list[str] = []
    for stage, needed in waiting.items():
        beside = running | {*starting}
        if needed & (waiting.keys() | running):
            continue
        alone = any(name.partition("@")[0] in ALONE for name in beside | {stage})
        if len(beside) < (1 if alone else AT_ONCE):
            starting.append(stage)
    return starting


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    retry_condition_fn=lambda task, run, state: worth_another_try(state.result(raise_on_failure=False)),
)
def run_stage(stage: str, lock: int, folder: str, force: bool) -> Outcome:
    """``dvc repro --single-item STAGE`` in ``folder``, its lines going to the terminal and to Prefect's log."""
    logger = get_run_logger()
    console.print(f"[bold]{stage}[/bold]")
    arguments = ["--wait-for-lock", "repro", "--single-item", *["--force"] * force, stage]
    started = time.monotonic()
    with dvc_commands.command(*arguments, lock=lock, folder=folder) as command:
        for line in command:
            if line.text.strip():
                logger.info(line.text)
            if line.own:  # several stages may be printing
                console.print(f"[dim]{stage}[/dim] {escape(line.text.removeprefix(f'{stage}: '))}")
    command.check(stage)
    outcome = Outcome(stage, command.stages.get(stage, "ran"), time.monotonic() - started)
    console.print(f"[bold]{stage}[/bold] [green]{outcome.state}[/green], {outcome.seconds:.1f} s")
    return outcome


def worth_another_try(error: Any) -> bool:
    """A network may come back. A user's mistake (exit status 2), or a dependency that is not there, stays; and what was
    ended by SIGTERM was interrupted."""
    return isinstance(error, StageFailed) and error.status not in (None, 2, -signal.SIGTERM, 128 + signal.SIGTERM)


def summary(outcomes: list[Outcome]) -> Table:
    table = Table("stage", "state", "seconds", title="Pipeline")
    table.columns[2].justify = "right"
    for outcome in outcomes:
        table.add_row(outcome.stage, outcome.state, f"{outcome.seconds:.1f}")
    table.add_section()
    table.add_row("total", "", f"{sum(outcome.seconds for outcome in outcomes):.1f}")
    return table


def publish(outcomes: list[Outcome], folder: str = ".") -> None:
    """Keep the times, DVC's metrics and the report of ``folder`` with the run in Prefect."""
    create_table_artifact([vars(outcome) for outcome in outcomes], key="stages", description="How each stage ended")
    create_table_artifact(dvc_commands.metrics(folder), key="metrics", description="The metrics that dvc.yaml declares")
    report = Path(folder, REPORT)
    if report.exists():
        create_markdown_artifact(report.read_text(encoding="utf-8"), key="report")


@contextmanager
def one_line_errors(kept: str, status: int = 1) -> Iterator[None]:
    """End the command with a line on stderr when the block is interrupted (status 130) or fails (``status``).

    VELOCITY_DEBUG lets the traceback through. ``kept`` is what is finished piece by piece, such as stages. SIGTERM ends
    the command in an orderly way, which stops what it has started, such as Prefect and DVC.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
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
    """Run the pipeline in this folder: every stage of dvc.yaml that is out of date, after those it depends on.

    Stages that do not depend on each other run at the same time; trainings and measurements run alone.
    """
    with one_line_errors("stages"):
        # What is mistyped shows at once, not after Prefect has started.
        if PARAMS.exists():
            load_params()
        dvc_commands.settle_git()
        dvc_commands.stage_graph(targets or [])
        start_prefect()
        pipeline(targets, force)


if __name__ == "__main__":
    typer.run(main)
