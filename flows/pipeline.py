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
from rich.table import Table

from flows import dvc_commands
from flows.dvc_commands import StageFailed
from flows.processes import console, locked, start_prefect
from velocity.config import load_params
from velocity.project import PARAMS, REPORT

LOCK = Path(".dvc/tmp/velocity-pipeline.lock")

# Seconds to wait before each further try of a stage that ended in an error. A network may come back, and a training
# goes on from its checkpoint; what else fails would fail again.
TRIES = {"fetch": [10, 60], "pretrain": [10], "finetune": [10]}


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
        outcomes = bring_up_to_date(dvc_commands.stages_in_order(targets or []), lock, force=force)
        publish(outcomes)
    return outcomes


def bring_up_to_date(stages: list[str], lock: int, folder: str = ".", force: bool = False) -> list[Outcome]:
    """A task run for each of the stages, retried where that makes sense; then a table of how they ended.

    ``lock``: of ``folder``, inherited by the commands. Raises StageFailed for the first stage that fails.
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
    arguments = ["--wait-for-lock", "repro", "--single-item", *["--force"] * force, stage]
    started = time.monotonic()
    with dvc_commands.command(*arguments, lock=lock, folder=folder) as command:
        for line in command:
            if line.text.strip():
                logger.info(line.text)
            if line.own:
                console.print(f"  {line.text}", markup=False)
    command.check(stage)
    outcome = Outcome(stage, command.stages.get(stage, "ran"), time.monotonic() - started)
    console.print(f"  [green]{outcome.state}[/green], {outcome.seconds:.1f} s")
    return outcome


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
    """Keep the times, DVC's metrics and the report of ``folder`` with the run in Prefect."""
    create_table_artifact([vars(outcome) for outcome in outcomes], key="stages", description="How each stage ended")
    create_table_artifact(dvc_commands.metrics(folder), key="metrics", description="The metrics that dvc.yaml declares")
    report = Path(folder, REPORT)
    if report.exists():
        create_markdown_artifact(report.read_text(encoding="utf-8"), key="report")


@contextmanager
def one_line_errors(kept: str, status: int = 1) -> Iterator[None]:
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
    with one_line_errors("stages"):
        # What is mistyped shows at once, not after Prefect has started.
        if PARAMS.exists():
            load_params()
        dvc_commands.settle_git()
        dvc_commands.stages_in_order(targets or [])
        start_prefect()
        pipeline(targets, force)


if __name__ == "__main__":
    typer.run(main)
