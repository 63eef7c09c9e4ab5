"""Ablations as a Prefect flow: a task run for each row of a table, a DVC experiment each, and one table of them all.

A row is ``dvc exp run`` in a workspace of its own: a clone in .dvc/tmp/ablation that shares this project's objects and
DVC cache. (``dvc exp run --temp`` takes a new folder each time, without the checkpoints of a killed training, and two
at once die on the lock; ``--queue`` runs in daemons that outlive the flow.) Rows share what they have in common through
DVC's run cache. The experiment is named by a hash of the row's parameters and the code: a row that is there is not run
again, one that was killed goes on where it was. ``python -m flows.ablate --help``.
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from ruamel.yaml import YAML

from flows import dvc_commands
from flows.pipeline import one_line_errors
from flows.processes import console, locked, start_prefect
from flows.rows import CODE, WORKSPACES, Row, chosen_rows, load_definitions
from flows.workspaces import bring_home, clone, git, reference
from velocity.config import PARAMS_FILE, load_params
from velocity.errors import VelocityError
from velocity.evaluation.ablation import RowResult, Table, write_report
from velocity.journal import flatten
from velocity.project import ERROR_REPORTS, REPORTS, tracking_uri

TARGET = "evaluate"  # the last stage of a row: speed is measured for all rows together
MEMORY = 4 << 30  # bytes of room for a row

children: set[int] = set()  # process groups of the rows that run
stopping = threading.Event()


@flow(name="ablations")
def ablations(
    rows: list[str] | None = None,
    profiles: list[str] = ["ablation-quick"],  # noqa: B006
    jobs: int = 0,
) -> None:
    """``ablate`` for the named rows of ablations.yaml (default: all), with as many at a time as there is room for.

    Raises VelocityError for an unknown row or profile.
    """
    definitions = load_definitions()
    chosen = chosen_rows(definitions, rows or [], profiles)
    if git("status", "--porcelain", "--untracked-files=no", "--", *CODE, str(PARAMS_FILE)):
        console.print("note: uncommitted changes of code and parameters are no part of the ablations")
    at_once = jobs or room(load_params().threads)
    console.print(f"{len(chosen)} rows, {at_once} at a time")
    options = [*(f"--profile={name}" for name in profiles), *([f"--rows={','.join(rows)}"] if rows else [])]
    command = shlex.join(["python", "-m", "flows.ablate", *options])
    runner = ThreadPoolTaskRunner(max_workers=at_once)
    ablate.with_options(task_runner=runner)(chosen, definitions.baseline, command)
    console.print(f"The table: {REPORTS / 'ablation.md'}")


@flow(name="ablate")
def ablate(rows: list[Row], baseline: str, command: str) -> Table:
    """Run ``rows``, the baseline first: what others share with it is then in the run cache. Writes the report.

    Raises VelocityError naming the rows that failed, when all others have ended and are in the report.
    """
    stopping.clear()
    first, *others = sorted(rows, key=lambda row: row.name != baseline)
    try:
        futures = {first.name: run_row.submit(first)}
        futures[first.name].wait()
        futures |= {row.name: run_row.submit(row) for row in others}
        ended = {name: future.result(raise_on_failure=False) for name, future in futures.items()}
    finally:
        stop()
    errors = {name: outcome for name, outcome in ended.items() if isinstance(outcome, BaseException)}
    failed = {name: " ".join(str(error).split()) for name, error in errors.items()}
    for name, reason in failed.items():
        console.print(f"{name} failed: {reason}", style="red", markup=False)
    if len(failed) == len(rows):
        raise VelocityError(f"no row succeeded: {failed[first.name]}")
    console.print("Comparing the rows, and measuring the speed of their artefacts in turn")
    table = Table(
        titles={row.name: row.title for row in rows},
        experiments={row.name: row.experiment for row in rows},
        measured={row.name: ended[row.name] for row in rows if row.name not in failed},
        failed=failed,
        baseline=baseline,
        command=command,
        commit=git("rev-parse", "HEAD"),
    )
    results = write_report(table, load_params(), REPORTS)
    create_markdown_artifact((REPORTS / "ablation.md").read_text(encoding="utf-8"), key="ablation")
    record(results, rows)
    if failed:
        raise VelocityError(
            f"{len(failed)} of {len(rows)} rows failed: {', '.join(failed)}; the others are in {REPORTS}"
        )
    return table


@task(task_run_name="{row.name}", cache_policy=NO_CACHE, persist_result=False)
def run_row(row: Row) -> RowResult:
    """``dvc exp run`` in the row's workspace unless its experiment is there; made known to this project by its name."""
    # DVC inherits the lock: when the flow is killed and DVC is not, the next flow waits for it.
    with locked(WORKSPACES / f"{row.experiment}.lock", f"{row.name} is running already") as lock:
        clone(row.workspace, row.params)
        there = bool(reference(row.workspace, row.experiment))
        if not there:
            console.print(f"[bold]{row.name}[/bold]: {row.title}")
            run_dvc(row, lock, "exp", "run", "--name", row.experiment, TARGET)
        if not list((row.workspace / ERROR_REPORTS).glob("*.json")):  # no output of DVC's: the run cache has none
            run_dvc(row, lock, "repro", "--single-item", "--force", TARGET)
        bring_home(row.workspace, row.experiment)
        measured = RowResult.load(
            row.workspace, load_params(row.workspace / PARAMS_FILE).finetune.start_from == "pretrained"
        )
    console.print(f"[bold]{row.name}[/bold] [green]{'there' if there else 'done'}[/green]: experiment {row.experiment}")
    return measured


def run_dvc(row: Row, lock: int, *arguments: str) -> None:
    """DVC in the row's workspace, its lines going to the terminal and to Prefect's log.

    Raises StageFailed with the stage and its last words.
    """
    if stopping.is_set():
        raise VelocityError("interrupted before it began")
    logger = get_run_logger()
    with dvc_commands.command(*arguments, lock=lock, folder=row.workspace) as command:
        children.add(command.process.pid)
        for line in command:
            if line.text:
                logger.info(line.text)
            if line.own:
                console.print(f"  {row.name}: {line.text}", markup=False)
    children.discard(command.process.pid)
    command.check(TARGET)


def stop() -> None:
    """End the rows that still run, when the flow was interrupted: they go on the next time."""
    stopping.set()
    for group in list(children):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


def record(results: dict[str, Any], rows: Sequence[Row]) -> None:
    """In MLflow: a run with the table, and below it a run for each row that succeeded."""
    if os.environ.get("VELOCITY_TRACKING") == "off" or find_spec("mlflow") is None:
        return
    from velocity.tracking.ledger import Ledger
    from velocity.tracking.origins import place_tags
    from velocity.tracking.store import reason

    now = int(time.time() * 1000)

    def run(name: str, params: dict[str, Any], tags: dict[str, str], *messages: dict[str, Any]) -> str:
        texts = {key: str(value) for key, value in flatten(params, lists=False)}
        ledger = Ledger(tracking_uri(), name)
        ledger.send([{"params": texts, "tags": place_tags() | tags}, *messages, {"close": "FINISHED"}])
        return ledger.run_id

    try:
        files = [{"artifact": str(REPORTS / f"ablation.{kind}")} for kind in ("md", "json", "png")]
        params = {key: results[key] for key in ("command", "baseline")}
        parent = run("ablation", params, {}, *files)
        params = {row.name: YAML(typ="safe").load(row.params) for row in rows}
        for row in results["rows"]:
            if "failed" not in row:
                numbers = [(key, value) for key, value in flatten(row) if isinstance(value, int | float)]
                metrics = [[key, float(value), now, 0] for key, value in numbers]
                tags = {"mlflow.parentRunId": parent, "dvc.experiment": row["experiment"], "title": row["title"]}
                run(row["name"], params[row["name"]], tags, {"metrics": metrics})
    except Exception as error:
        console.print(f"warning: MLflow did not record the table: {reason(error)}", markup=False)


def room(threads: int) -> int:
    """Rows that this machine has cores and free memory for at a time, at least one."""
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min((os.cpu_count() or 1) // threads, memory // MEMORY))


def main(
    rows: Annotated[str, typer.Option(help="Rows of ablations.yaml, separated by commas (default: all).")] = "",
    profile: Annotated[
        list[str], typer.Option(help="Profile to lay over params.yaml, such as reference; may be given several times.")
    ] = ["ablation-quick"],  # noqa: B006
    jobs: Annotated[
        int, typer.Option(min=0, help="Rows at a time (0: as many as there are cores and memory for).")
    ] = 0,
) -> None:
    """Train, export and score every row of ablations.yaml as a DVC experiment, and put them into one table.

    The table is in reports/ablation.md, with the figures in .json and a plot in .png; `dvc exp show` lists the rows,
    MLflow has a run for the table and one below it for each row. It measures the last commit; uncommitted changes are
    ignored.

    Rows that exist for the same code and parameters are not run again: repeat the command after an interruption or a
    change. `rm -r .dvc/tmp/ablation` frees their folders.

    \b
    python -m flows.ablate                             # every row, small: about an hour on two free cores
    python -m flows.ablate --rows causal,stride-4      # these two beside the baseline
    python -m flows.ablate --profile reference         # the reference dimensions, params.yaml's data and steps
    python -m flows.ablate --profile librispeech --profile reference --jobs 4
    """
    with one_line_errors("rows"):
        names = [name.strip() for name in rows.split(",") if name.strip()]
        chosen_rows(load_definitions(), names, profile)  # a mistyped name shows at once, not after Prefect has started
        start_prefect()
        ablations(names, profile, jobs)


if __name__ == "__main__":
    typer.run(main)
