"""What a pull request does to the model: both sides are made from their commits, gated, and compared in a comment.

The workflows call this command; so can you. The folder stays as it is: each side has a workspace of its own.
DVC takes what it can from its run cache and its default remote, and runs the rest.
``python -m flows.ci --help``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path
from typing import Annotated

import typer

from flows import comment, dvc_commands
from flows.dvc_commands import StageFailed
from flows.pipeline import one_line_errors
from flows.processes import console, locked
from flows.sides import WORKSPACES, Side
from flows.workspaces import bring_up_to, git, keep
from velocity.commands.gate import test_sets
from velocity.config import PARAMS_FILE, load_params
from velocity.errors import VelocityError
from velocity.files import write_json, write_text
from velocity.gate import Judgement, judge, measure, recognise
from velocity.project import REPORTS

TARGET = "evaluate"  # the last stage: the gate measures speed itself
CODE = "velocity"


def check(base: str, head: str, out: Path, names: Sequence[str] | None) -> int:
    """Judge the model of ``head`` beside the one of its last common commit with ``base``; returns the exit status.

    The test sets and the gate's limits are those of the base: a change does not choose what it is judged by.
    Raises VelocityError when a side cannot be made or judged; the comment tells that, too.
    """
    out.mkdir(parents=True, exist_ok=True)
    sides = [Side("base", git("merge-base", base, head)), Side("change", git("rev-parse", f"{head}^{{commit}}"))]
    try:
        with locked(WORKSPACES / "lock", "Another check is running in this folder") as lock:
            for side in sides:
                make(side, lock)
            judgement = None if same(*sides) else gate(*sides, names)
    except Exception as error:
        write_text(out / comment.FILE, comment.failed(str(error)))
        raise
    write_text(out / comment.FILE, comment.compose(*sides, judgement, out))
    write_json(out / "gate.json", judgement.to_json() if judgement else {"verdict": "pass", "reasons": [], "rows": []})
    return judgement.verdict.status if judgement else 0


def make(side: Side, lock: int) -> None:
    """Every stage of the side up to the evaluation, in its workspace."""
    bring_up_to(side.folder, side.commit, git("show", f"{side.commit}:{PARAMS_FILE}"))
    pull = ["--pull"] * bool(dvc_commands.default_remote())
    with dvc_commands.command("repro", *pull, TARGET, lock=lock, folder=side.folder) as command:
        for line in command:
            if line.stage:
                console.print(f"{side.name}: [bold]{line.stage}[/bold] {line.state}")
            elif line.own:
                console.print(f"  {line.text}", markup=False)
    side.stages |= command.stages
    try:
        command.check(TARGET)
    except StageFailed as error:
        raise VelocityError(f"the {side.title} cannot be made: {error}") from error
    side.experiment = keep(side.folder, side.name)


def same(base: Side, change: Side) -> bool:
    """Whether the models are the same, and the code that runs them: then there is nothing to judge."""
    code, models = (
        [git("rev-parse", f"{side.commit}:{CODE}") for side in (base, change)],
        [{path.name: path.read_bytes() for path in side.model().folder.iterdir()} for side in (base, change)],
    )
    return code[0] == code[1] and models[0] == models[1]


def gate(base: Side, change: Side, names: Sequence[str] | None) -> Judgement:
    """As ``velocity-asr gate``, but each model is run by the code of its own commit."""
    candidate, champion = change.model(), base.model()
    with chdir(base.folder):
        limits = load_params().gate
        hypotheses = recognise(candidate, champion, test_sets(names))
        return judge(measure(candidate, champion, hypotheses, limits), limits)


def main(
    base: Annotated[
        str, typer.Option(help="The branch to merge into; what counts is the last common commit.")
    ] = "main",
    head: Annotated[str, typer.Option(help="The commit to judge.")] = "HEAD",
    test_set: Annotated[
        list[str] | None,
        typer.Option(help="As for velocity-asr gate; may be given more than once. Default: those the base prepares."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where comment.md, its pictures and gate.json go.")] = REPORTS / "ci",
) -> None:
    """Judge a pull request: build the models of both sides, gate one against the other, write a comment.

    Exit status as for velocity-asr gate: 0 pass, 1 regression, 2 could not judge, or a model could not be built. Only
    commits count: uncommitted changes are ignored. `dvc exp apply`, with the name in the comment, brings a result here.

    \b
    python -m flows.ci                       # this branch, beside main
    python -m flows.ci --base origin/main --head my-branch
    """
    with one_line_errors("stages", status=2):
        if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports", ":!dvc.lock"):
            console.print("note: uncommitted changes are no part of this")
        status = check(base, head, out, test_set)
        console.print((out / comment.FILE).read_text(encoding="utf-8").partition("\n### ")[0], markup=False)
        console.print(f"The comment: {out / comment.FILE}")
    sys.exit(status)


if __name__ == "__main__":
    typer.run(main)
