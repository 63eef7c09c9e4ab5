"""What a run was made from: the commit, DVC's hashes of what it read and wrote, and the kind of machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from velocity.files import md5
from velocity.project import declared, stage_inputs


def origin_tags(stage: str) -> dict[str, str]:
    """With the name that ``dvc exp show`` has for the experiment the run is part of."""
    name = os.environ.get("DVC_EXP_NAME")
    return git_tags() | ({"dvc.experiment": name} if name else {}) | machine_tags() | input_tags(stage)


def identity(stage: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str | None:
    """SHA-256 of the stage, its parameters and inputs: a resumed training has it again. None without known inputs.

    The inputs are those in ``tags``, from when the run started: a kept record may be sent after they have changed.
    """
    inputs = {name: digest for name, digest in tags.items() if name.startswith("input/")}
    return hashlib.sha256(json.dumps([stage, params, inputs], sort_keys=True).encode()).hexdigest() if inputs else None


def git_tags() -> dict[str, str]:
    """The commit, and whether code or parameters differ from it; what the pipeline itself writes does not count."""
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed)).lower()}
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git here, or no commit yet


def machine_tags() -> dict[str, str]:
    """What kind of machine it is, not which."""
    from velocity.evaluation.speed import processor

    return {"machine.cpu": processor(), "machine.cores": str(os.cpu_count())}


def input_tags(stage: str) -> dict[str, str]:
    """DVC's hashes of what the stage reads, as the stages before it left them in dvc.lock: {"input/PATH": hash}."""
    return {f"input/{path}": digest for path, (_, digest) in sorted(stage_inputs(stage).items())}


def output_tags(stage: str) -> dict[str, str]:
    """The hashes DVC will give to the files that the stage has written: {"output/PATH": MD5}."""
    paths = [Path(path) for kind in ("outs", "metrics") for path in declared(stage, kind)]
    return {f"output/{path}": md5(path) for path in paths if path.is_file()}


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
