"""What a run was made from: the commit, DVC's hashes of what it read and wrote, and the kind of machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def origin_tags(stage: str) -> dict[str, str]:
    return git_tags() | experiment_tags() | machine_tags() | input_tags(stage)


def identity(stage: str, params: Mapping[str, str]) -> str | None:
    """SHA-256 of the stage, its parameters and the hashes of its inputs: a training that is resumed has it again.

    None where DVC knows no inputs of the stage: then nothing says that two runs are one.
    """
    inputs = input_tags(stage)
    return hashlib.sha256(json.dumps([stage, params, inputs], sort_keys=True).encode()).hexdigest() if inputs else None


def git_tags() -> dict[str, str]:
    """The commit, and whether code or parameters differ from it; what the pipeline itself writes does not count."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed)).lower()}
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git here, or no commit yet


def experiment_tags() -> dict[str, str]:
    """The name that ``dvc exp show`` has for the experiment the run is part of."""
    name = os.environ.get("DVC_EXP_NAME")
    return {"dvc.experiment": name} if name else {}


def machine_tags() -> dict[str, str]:
    """What kind of machine it is, not which."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"machine.cpu": (models or [platform.machine()])[0], "machine.cores": str(os.cpu_count())}


def input_tags(stage: str) -> dict[str, str]:
    """DVC's hashes of what the stage reads, as the stages before it left them in dvc.lock: {"input/PATH": hash}."""
    hashes = {
        out["path"]: out["md5"]
        for name, entry in locked_stages().items()
        if name != stage
        for out in entry.get("outs", [])
        if "md5" in out
    }
    wanted = [Path(path) for path in _declared(stage, "deps")]
    return {
        f"input/{path}": hashes[path]
        for path in sorted(hashes)
        if any(Path(path) == dep or dep in Path(path).parents for dep in wanted)
    }


def output_tags(stage: str) -> dict[str, str]:
    """The hashes DVC will give to the files that the stage has written: {"output/PATH": MD5}."""
    tags = {}
    for path in _declared(stage, "outs") + _declared(stage, "metrics"):
        if Path(path).is_file():
            with open(path, "rb") as file:
                tags[f"output/{path}"] = hashlib.file_digest(file, "md5").hexdigest()
    return tags


def locked_stages() -> dict[str, Any]:
    """What dvc.lock holds of each stage: ``deps`` and ``outs`` with their paths and hashes. Empty without a lock."""
    return _read_yaml("dvc.lock").get("stages", {})


def _declared(stage: str, kind: str) -> list[str]:
    """The paths that dvc.yaml lists for a stage under ``kind``, written as a string or as {path: options}."""
    entries = _read_yaml("dvc.yaml").get("stages", {}).get(stage, {}).get(kind, [])
    return [next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries]


def _read_yaml(path: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    if not Path(path).exists():
        return {}
    return YAML(typ="safe").load(Path(path)) or {}
