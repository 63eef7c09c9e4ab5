"""What a released model was made from, by dvc.lock and git: metadata of a version, never bytes of an artefact."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from velocity.project import locked_outputs, locked_stages, overlap
from velocity.tracking.origins import git


def provenance(path: Path) -> dict[str, Any]:
    """What the output ``path`` was made from.

    ``commit``: the last commit that changed code it is made with, with ``+uncommitted`` where the files differ from it;
    None outside git and in a shallow clone. ``parameters``: SHA-256 of those that its stages read. ``data``: DVC's MD5
    of each output on the way to it.
    """
    stages = locked_stages()
    made = {name: digest for name, (_, digest) in locked_outputs(stages).items()}
    sources, inputs, parameters = _ancestry(str(path), stages)
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    data = {name: made[name] for name in sorted(inputs) if name in made}
    return {"commit": _commit(sources), "parameters": f"sha256:{digest}", "data": data}


def _ancestry(path: str, stages: dict[str, Any]) -> tuple[set[str], set[str], dict[str, Any]]:
    """Files that no stage makes, outputs of stages, and parameters that ``path`` follows from."""
    sources, made, pending, parameters = set(), set(), [path], {}
    while pending:
        name = pending.pop()
        outs = ((out["path"], stage) for stage in stages.values() for out in stage.get("outs", []))
        makers = [(out, stage) for out, stage in outs if overlap(Path(out), Path(name))]
        sources |= set() if makers else {name}
        for out, stage in makers:
            pending += [] if out in made else [dependency["path"] for dependency in stage.get("deps", [])]
            made.add(out)
            parameters |= stage.get("params", {}).get("params.yaml", {})
    return sources, made - {path}, parameters


def _commit(sources: set[str]) -> str | None:
    inside = sorted(path for path in sources if not Path(path).is_absolute() and ".." not in Path(path).parts)
    if not inside or git("rev-parse", "--is-shallow-repository") == "true":
        return None
    commit = git("log", "-1", "--format=%H", "--", *inside)
    changed = git("status", "--porcelain", "--", *inside)
    return commit + "+uncommitted" * bool(changed) if commit else None
