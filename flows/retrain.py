"""Retraining as a Prefect flow, on a schedule or by hand: new speech becomes a new model, and the gate judges it.

It works in a workspace of its own (flows.workspaces) with the code and parameters of the last commit, so that nothing
in the project changes: fetch → validate → drift → the other stages → a DVC experiment → a version of the registry →
the gate beside the champion → promoted if it is better, or not. Each step may be repeated, so the next run continues
one that was killed; the champion changes in one write to the registry, after the gate.
``python -m flows.retrain --help``.
"""

# No postponed annotations here: who loads the flow from this file, as a worker does, could not resolve the parameter's.
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State
from ruamel.yaml import YAML

from flows import dvc_commands
from flows.pipeline import bring_up_to_date, one_line_errors, publish
from flows.processes import console, locked, running, say, start_prefect
from flows.workspaces import bring_up_to, git, keep
from velocity.commands.profile import apply_profile
from velocity.config import PARAMS_FILE
from velocity.errors import VelocityError
from velocity.project import VALIDATION_SUMMARY

WORKSPACE = Path(".dvc/tmp/retrain/workspace")
LOCK = Path(".dvc/tmp/retrain/lock")
VERDICT = Path(".dvc/tmp/verdict.md")

Drift = Literal["as-params", "stop", "go-on"]
Promote = Literal["better", "not-worse"]
SEVERITY = {"stop": "refuse", "go-on": "warn"}

NOTHING_NEW = "Nothing new"
PROMOTED, KEPT, UNCLEAR = "Promoted", "Kept the champion", "Could not judge"
ENDS = {"pass": KEPT, "regression": KEPT, "could not judge": UNCLEAR}  # verdict on what was not promoted → state
NOT_BETTER = "not significantly better on any test set"
STATUS = {NOTHING_NEW: 0, PROMOTED: 0, KEPT: 1, UNCLEAR: 2}  # of the command
FINAL = {"pass", "regression"}  # verdicts; what could not be judged is judged again the next time


@flow(name="retrain")
def retrain(drift: Drift = "as-params", promote: Promote = "better") -> State[str]:
    """Train on what is new and let the gate decide. The state says how it ended, its data is the version if any.

    ``drift`` from the accepted data: ``stop``, ``go-on``, or as validate.drift.severity of params.yaml says.
    ``promote``: what is ``better`` than the champion on some test set, or all that passes the gate.
    One runs at a time in a folder: a second one waits. Raises StageFailed for the first stage that fails, such as
    ``validate`` for bad data, and VelocityError when the registry does not answer. The champion then stays.
    """
    with locked(LOCK, "Another retraining is running in this folder") as lock:
        commit = git("rev-parse", "HEAD")
        bring_up_to(WORKSPACE, commit, parameters(commit, drift))
        if stages := dvc_commands.out_of_date(WORKSPACE):
            say(f"Out of date: {', '.join(stages)}")
            train(lock)
        else:
            say("Every stage is up to date")
        known = look_up(lock)
        version = known["version"]
        if version and (known["verdict"] in FINAL or version == known["champion"]):
            return Completed(name=NOTHING_NEW, message=f"Nothing new: this model is {standing(known)}", data=version)
        if not version:
            version = register(lock, keep(WORKSPACE, "retrain"))
        verdict, reasons = judge(lock, version, promote)
        known = look_up(lock)
        if known["champion"] == version:
            return Completed(name=PROMOTED, message=f"{PROMOTED}. {standing(known)}", data=version)
        end, because = ENDS[verdict], "; ".join(reasons or [NOT_BETTER])
        return Completed(name=end, message=f"{end}: {because}. {standing(known)}", data=version)


def parameters(commit: str, drift: Drift) -> str:
    """params.yaml of the commit, with the flow's own setting for drift."""
    text = git("show", f"{commit}:{PARAMS_FILE}")
    if drift not in SEVERITY:
        return text
    with TemporaryDirectory() as temporary:
        params, overlay = Path(temporary, PARAMS_FILE), Path(temporary, "drift.yaml")
        params.write_text(text, encoding="utf-8")
        YAML().dump({"validate": {"drift": {"severity": SEVERITY[drift]}}}, overlay)
        apply_profile(str(overlay), params)
        return params.read_text(encoding="utf-8")


def train(lock: int) -> None:
    """Every stage, in the order of DVC's graph; drift is reported before anything is trained."""
    graph = dvc_commands.stage_graph([], WORKSPACE)
    stages = list(graph)
    validated = stages.index("validate") + 1
    data, rest = ({stage: graph[stage] for stage in some} for some in (stages[:validated], stages[validated:]))
    outcomes = bring_up_to_date(data, lock, str(WORKSPACE))
    note_drift()
    outcomes += bring_up_to_date(rest, lock, str(WORKSPACE))
    publish(outcomes, str(WORKSPACE))


@task(task_run_name="drift", cache_policy=NO_CACHE)
def note_drift() -> None:
    """Leave the drift that ``validate`` has let pass with the run; what it refuses does not come here."""
    corpora = json.loads((WORKSPACE / VALIDATION_SUMMARY).read_text(encoding="utf-8"))["drift"]
    drifted = {name: figures for name, figures in corpora.items() if figures.pop("drifted")}
    if not drifted:
        get_run_logger().info("No drift from the accepted data")
        return
    say(f"Drift from the accepted data: {', '.join(drifted)}; going on")
    rows = [f"| {name} | {what} | {value} |" for name, figures in drifted.items() for what, value in figures.items()]
    table = "\n".join(["| corpus | figure | value |", "| --- | --- | --- |", *rows])
    create_markdown_artifact(f"Drift from the accepted data, let pass. Limits: validate.drift.\n\n{table}", key="drift")


@task(task_run_name="look-up", cache_policy=NO_CACHE)
def look_up(lock: int) -> dict[str, Any]:
    """The workspace's model in the registry: version and verdict, None without; and the aliases."""
    return velocity_asr(lock, "register", "--dry-run")


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(lock: int, experiment: str) -> str:
    """Make the workspace's model a version, the challenger, tagged with its experiment; returns its number."""
    result = velocity_asr(lock, "register", experiment=experiment)
    say(f"Version {result['version']}: experiment {experiment}; `dvc exp apply {experiment}` brings it here")
    return result["version"]


@task(task_run_name="gate", cache_policy=NO_CACHE)
def judge(lock: int, version: str, promote: Promote) -> tuple[str, list[str]]:
    """``velocity-asr promote``: the champion's place if the gate allows it; the verdict and what speaks against it.

    Raises VelocityError for what cannot even be put before the gate.
    """
    chosen = ["--only-better"] * (promote == "better")
    result = velocity_asr(lock, "promote", "--version", version, *chosen, "--markdown", str(VERDICT))
    if result["verdict"] not in ENDS:
        raise VelocityError("; ".join(result["reasons"]))
    create_markdown_artifact((WORKSPACE / VERDICT).read_text(encoding="utf-8"), key="gate")
    return result["verdict"], result["reasons"]


def velocity_asr(lock: int, *arguments: str, experiment: str = "") -> Any:
    """What the command prints as JSON, run in the workspace by the code that is there.

    Raises VelocityError with its last words when it prints none.
    """
    command = [sys.executable, "-m", "velocity.cli", *arguments, "--json"]
    environment = {"DVC_EXP_NAME": experiment} if experiment else {}
    with running(command, lock, WORKSPACE, environment, stderr=subprocess.PIPE) as process:
        output, errors = process.communicate()
    try:
        return json.loads(output)
    except ValueError:
        lines = errors.strip().splitlines() or [f"it ended with status {process.returncode}"]
        raise VelocityError(f"velocity-asr {arguments[0]}: {lines[-1].removeprefix('error: ')}") from None


def standing(known: dict[str, Any]) -> str:
    champion = known["champion"]
    place = "the champion" if known["version"] == champion else f"the champion is version {champion or 'none'}"
    return f"version {known['version']} ({known['verdict'] or 'not judged'}), {place}"


def main(
    drift: Annotated[
        Drift,
        typer.Option(help="What drift from the accepted data does; as-params: as validate.drift.severity says."),
    ] = "as-params",
    promote: Annotated[
        Promote,
        typer.Option(help="Who becomes champion: what passes the gate with a lower error rate, or all that passes."),
    ] = "better",
) -> None:
    """Fetch new speech, train on it, register the model, and promote it if it is better and passes the gate.

    Everything happens in .dvc/tmp/retrain, with the code and parameters of the last commit; the project itself does
    not change. If nothing is new, the run ends early. The next run continues one that was killed. The model's reports
    are kept as a DVC experiment, retrain-…: `dvc exp show` lists it, `dvc exp apply` brings it into the project.

    Exit status 0: promoted, or nothing new. 1: the model is not better, or the gate refused it. 2: the gate could not
    judge, or a stage failed, as validate does for bad data. In cases 1 and 2 the champion stays.

    \b
    python -m flows.retrain                   # by hand; on a schedule: the deployment `retrain`, docs/retraining.md
    python -m flows.retrain --drift stop      # refuse data unlike what was accepted (velocity-asr accept)
    """
    with one_line_errors("stages", status=2):
        start_prefect()
        state = retrain(drift, promote, return_state=True)
        state.result()
    console.print(state.message, markup=False)
    sys.exit(STATUS[state.name])


if __name__ == "__main__":
    typer.run(main)
