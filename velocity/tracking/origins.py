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
    return place_tags() | ({"dvc.experiment": name} if name else {}) | input_tags(stage)


def identity(stage: str, params: Mapping[str, str], tags: Mapping[str, str]) -> str | None:
    """SHA-256 of the stage, its parameters and its inputs, by ``tags`` from when it started: a resumed training has it
    again. None without known inputs."""
    inputs = {name: digest for name, digest in tags.items() if name.startswith("input/")}
    return hashlib.sha256(json.dumps([stage, params, inputs], sort_keys=True).encode()).hexdigest() if inputs else None


def place_tags() -> dict[str, str]:
    """The commit, and whether code or parameters differ from it: what the pipeline itself writes does not count. What
    kind of machine it is, not which."""
    from velocity.evaluation.speed import processor

    machine = {"machine.cpu": processor(), "machine.cores": str(os.cpu_count())}
    commit = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
    code = {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changed)).lower()} if commit else {}
    return code | machine


def input_tags(stage: str) -> dict[str, str]:
    """DVC's hashes of what the stage reads, as the stages before it left them in dvc.lock: {"input/PATH": hash}."""
    return {f"input/{path}": digest for path, (_, digest) in sorted(stage_inputs(stage).items())}


def output_tags(stage: str) -> dict[str, str]:
    """The hashes DVC will give to the files that the stage has written: {"output/PATH": MD5}."""
    paths = [Path(path) for kind in ("outs", "metrics") for path in declared(stage, kind)]
    return {f"output/{path}": md5(path) for path in paths if path.is_file()}


def git(*arguments: str) -> str:
    """What it prints; nothing where there is no git, no repository or no commit yet."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
