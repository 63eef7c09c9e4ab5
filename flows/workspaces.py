"""Isolated workspaces: a clone of the last commit, with the project's own objects, DVC cache and sources of sound.

What a flow runs there leaves the project as it is, and comes back to it as a DVC experiment: a commit under
``refs/exps``, which ``dvc exp show`` lists and ``dvc exp apply`` brings into the project.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from flows import dvc_commands
from velocity.config import PARAMS_FILE, Params, load_params
from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_text


def git(*arguments: str, folder: Path | str = ".", environment: dict[str, str] | None = None) -> str:
    """What git prints. Raises VelocityError with its last line."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | (environment or {}))
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if "not a git repository" in reason:
            made = "`git init`, `git add --all` and `git commit` make one; `make run` does without"
            raise VelocityError(f"this needs a git repository, and there is none here: {made}")
        raise VelocityError(f"git {arguments[0]}: {reason}")
    return done.stdout if arguments[0] == "show" else done.stdout.strip()


def clone(folder: Path, params: str) -> None:
    """Make the workspace with these parameters, whole or not at all; left as it is when it is there."""
    if folder.exists():
        return
    cache = dvc_commands.cache_folder()
    with atomic_directory(folder) as made:
        git("clone", "--quiet", "--shared", ".", str(made))
        for key, value in {"user.name": "velocity-asr", "user.email": "velocity-asr@localhost"}.items():
            git("config", key, value, folder=made)  # for the commits of experiments
        (made / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n    type = reflink,hardlink,copy\n")
        use(made, params)


def bring_up_to(folder: Path, commit: str, params: str) -> None:
    """Have ``commit`` in the workspace, with these parameters. What DVC made there stays: it knows what is out of date.

    To be called by who holds the workspace: what a killed git or DVC left is cleared away.
    """
    clone(folder, params)
    for left in (*(folder / ".git").glob("*.lock"), folder / ".dvc/tmp/rwlock"):
        left.unlink(missing_ok=True)
    if git("rev-parse", "HEAD", folder=folder) != commit:
        git("checkout", "--quiet", "--force", "--detach", commit, folder=folder)
    dvc_commands.remove_damaged_lock(folder)
    use(folder, params)


def use(folder: Path, params: str) -> None:
    """Write the parameters, and link the sources that they name: your own speech, which git does not know."""
    path = folder / PARAMS_FILE
    if path.read_text(encoding="utf-8") != params:
        write_text(path, params)
    exclude = folder / ".git/info/exclude"
    for source in sources(load_params(path)):
        if source.exists() and not (folder / source).exists():
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).symlink_to(source.absolute())
            exclude.write_text(f"{exclude.read_text()}/{source}\n")


def sources(params: Params) -> list[Path]:
    """What the parameters name as sources of sound inside this project."""
    augmentation = params.finetune.augmentation
    named = [corpus.source for corpus in params.corpora.values()]
    named += [augmentation.room_source, augmentation.noise_source] if augmentation else []
    return [Path(source) for source in named if source and not Path(source).is_absolute()]


def keep(folder: Path, name: str) -> str:
    """Commit what the workspace holds as an experiment ``<name>-<its hash>`` of this project; returns that name.

    In one write, a reference, which is all that DVC wants of an experiment: ``dvc exp save`` would put the workspace
    aside while it works, to be lost when it is killed.
    """
    index = {"GIT_INDEX_FILE": str(folder.absolute() / ".git/experiment-index")}
    git("read-tree", "HEAD", folder=folder, environment=index)
    git("add", "--all", folder=folder, environment=index)
    tree = git("write-tree", folder=folder, environment=index)
    experiment = f"{name}-{tree[:10]}"
    if reference(Path(), experiment):
        return experiment
    baseline = git("rev-parse", "HEAD", folder=folder)
    message = f"dvc: commit experiment {experiment}"
    commit = git("commit-tree", tree, "-p", baseline, "-m", message, folder=folder)
    git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{experiment}", commit, folder=folder)
    bring_home(folder, experiment)
    return experiment


def bring_home(folder: Path, experiment: str) -> None:
    """Make an experiment of the workspace known to this project by its name."""
    there = reference(folder, experiment)
    git("fetch", "--quiet", "--no-write-fetch-head", str(folder), f"+{there}:{there}")


def reference(folder: Path, experiment: str) -> str:
    """The git reference of a finished experiment; empty as long as there is none."""
    return git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}", folder=folder)
