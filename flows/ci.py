"""What a pull request does to the model: both sides made from their commits, judged by the gate, told in a comment.

The workflows call this command, and so may everybody: the folder stays as it is, each side has a workspace of its own.
DVC decides what there is to make: from the run cache, from the default remote if there is one, or anew.
``python -m flows.ci --help``.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from flows import comment
from flows.pipeline import CHATTER, failure, told_in_one_line
from flows.processes import console, held, running
from flows.workspaces import bring_up_to, git, keep
from velocity.commands.gate import test_sets
from velocity.commands.models import EXPORTED, find_artefact
from velocity.config import PARAMS_FILE, load_params
from velocity.errors import VelocityError
from velocity.files import write_json, write_text
from velocity.gate import Judgement, Model, hear, judge, measure

TARGET = "evaluate"  # the last stage: the gate measures speed itself
WORKSPACES = Path(".dvc/tmp/ci")
CODE = "velocity"
STATES = {  # what DVC says of a stage
    r"Running stage '(.+)':": "ran",
    r"Stage '(.+)' is cached - skipping run, checking out outputs": "restored",
    r"Stage '(.+)' didn't change, skipping": "up to date",
}


@dataclass
class Side:
    """A commit, the workspace it was made in, what each of its stages did, and the name DVC has for the outcome."""

    name: str  # "base" or "change"
    commit: str
    stages: dict[str, str] = field(default_factory=dict)
    experiment: str = ""

    @property
    def folder(self) -> Path:
        return (WORKSPACES / self.name).absolute()

    @property
    def title(self) -> str:
        return f"{self.name} {self.commit[:10]}"

    def model(self) -> Model:
        return Model(self.title, find_artefact(str(self.folder / EXPORTED), quantized=True), self.folder)


def check(base: str, head: str, out: Path, names: Sequence[str] | None) -> int:
    """Judge the model of ``head`` beside the one of its last common commit with ``base``; returns the exit status.

    The test sets and the gate's limits are those of the base: a change does not choose what it is judged by.
    Raises VelocityError when a side cannot be made or judged; the comment tells that, too.
    """
    out.mkdir(parents=True, exist_ok=True)
    sides = [Side("base", git("merge-base", base, head)), Side("change", git("rev-parse", f"{head}^{{commit}}"))]
    try:
        with held(WORKSPACES / "lock", "Another check is running in this folder") as lock:
            for side in sides:
                make(side, lock)
            judgement = None if same(*sides) else gate(*sides, names)
    except Exception as error:
        write_text(out / comment.FILE, comment.failed(str(error)))
        raise
    write_text(out / comment.FILE, comment.told(*sides, judgement, out))
    write_json(out / "gate.json", judgement.to_json() if judgement else {"verdict": "pass", "reasons": [], "rows": []})
    return judgement.verdict.status if judgement else 0


def make(side: Side, lock: int) -> None:
    """Every stage of the side up to the evaluation, in its workspace."""
    bring_up_to(side.folder, side.commit, git("show", f"{side.commit}:{PARAMS_FILE}"))
    pull = ["--pull"] * bool(remote())
    lines: list[str] = []
    with running([sys.executable, "-m", "dvc", "repro", *pull, TARGET], lock, side.folder) as process:
        for line in map(str.rstrip, process.stdout):
            lines.append(line)
            for pattern, state in STATES.items():
                if found := re.fullmatch(pattern, line):
                    side.stages[found[1]] = state
                    console.print(f"{side.name}: [bold]{found[1]}[/bold] {state}")
            if not CHATTER.match(line):
                console.print(f"  {line}", markup=False)
    if process.returncode != 0:
        stage = next((name for name, state in reversed(side.stages.items()) if state == "ran"), TARGET)
        raise VelocityError(f"the {side.title} cannot be made: {failure(stage, lines, process.returncode)}")
    side.experiment = keep(side.folder, side.name)


def remote() -> str | None:
    """The name of DVC's default remote."""
    from dvc.repo import Repo

    with Repo() as repo:
        return repo.config["core"].get("remote")


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
        heard = hear(candidate, champion, test_sets(names))
        return judge(measure(candidate, champion, heard, limits), limits)


def main(
    base: Annotated[
        str, typer.Option(help="The branch to merge into; what counts is the last common commit.")
    ] = "main",
    head: Annotated[str, typer.Option(help="The commit to judge.")] = "HEAD",
    test_set: Annotated[
        list[str] | None,
        typer.Option(help="As for velocity-asr gate; may be given more than once. Default: those the base prepares."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where comment.md, its pictures and gate.json go.")] = Path("reports/ci"),
) -> None:
    """Judge a pull request: make the models of both sides, gate the one beside the other, write a comment.

    Exit status as for velocity-asr gate: 0 pass, 1 regression, 2 could not judge, or could not be made. Commits count,
    not what is uncommitted. `dvc exp apply` takes over what was made here, by the names in the comment.

    \b
    python -m flows.ci                       # this branch, beside main
    python -m flows.ci --base origin/main --head my-branch
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # an orderly end stops DVC too
    with told_in_one_line("stages", status=2):
        if git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports", ":!dvc.lock"):
            console.print("note: uncommitted changes are no part of this")
        status = check(base, head, out, test_set)
        console.print((out / comment.FILE).read_text(encoding="utf-8").partition("\n### ")[0], markup=False)
        console.print(f"The comment: {out / comment.FILE}")
    sys.exit(status)


if __name__ == "__main__":
    typer.run(main)
