"""What an artefact says of itself: in ``config.json``, and in the model's own file for who has that alone.

Nothing of it is a time or a place: the same weights give the same words, wherever and whenever they are exported.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.recognition.decoding.pieces import pieces
from velocity.text import TextTokenizer
from velocity.tracking.origins import locked_stages

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained

LICENCE = "Apache-2.0"  # of the code, and of weights that are trained here; the speech has its own
NORMALIZER = "velocity-english"
KEY = "velocity-asr"  # of the one entry in formats that hold one


def describe(trained: Trained, target: str) -> dict[str, Any]:
    """The head of ``config.json``: what holds for every artefact of these weights."""
    from velocity.model.asr import read_weights

    model, _ = read_weights(trained.weights)
    return {
        "format": 1,
        "name": trained.name,
        "target": target,
        "input": trained.input,
        "sample_rate": SAMPLE_RATE,
        "mel_bins": MEL_BINS,
        "frame_seconds": model.stride * HOP / SAMPLE_RATE,
        "vocabulary": model.vocabulary,
        "blank": 0,
        "normalizer": NORMALIZER,
        "synthetic": trained.synthetic,
        "licence": trained.licence,
        "provenance": trained.provenance | {"weights": _digest(trained.weights)},
        "model": model.to_dict(),
    }


def labels(trained: Trained, target: str) -> dict[str, str]:
    """The same for the model's own file, and the text of each class: key → text, or JSON of what is not a text."""
    told = describe(trained, target) | {"classes": pieces(TextTokenizer(trained.tokenizer))}
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in told.items()}


def project_provenance(weights: Path) -> dict[str, Any]:
    """Where ``weights``, an output of this project's pipeline, come from.

    ``training_commit``: the last commit that changed code that they are made with, with ``+uncommitted`` where the
    files differ from it; None outside git and in a clone without its history. ``parameters``: SHA-256 of those that
    these stages read; the rest of params.yaml may change without them. ``data``: DVC's MD5 of what the stages before
    them read and wrote. All are None or empty when ``dvc.lock`` speaks of other weights.
    """
    stages = locked_stages()
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    with open(weights, "rb") as file:
        known = hashlib.file_digest(file, "md5").hexdigest() == made.get(str(weights))
    if not known:
        return {"training_commit": None, "parameters": None, "data": {}}
    sources, inputs, parameters = _ancestry(str(weights), stages)
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()
    data = {path: made[path] for path in sorted(inputs)}
    return {"training_commit": _commit(sources), "parameters": f"sha256:{digest}", "data": data}


def _ancestry(path: str, stages: dict[str, Any]) -> tuple[set[str], set[str], dict[str, Any]]:
    """What ``path`` is made from according to dvc.lock: files that no stage makes, outputs of stages, parameters."""
    sources, made, pending, parameters = set(), set(), [path], {}
    while pending:
        wanted = pending.pop()
        makers = [
            (out["path"], stage)
            for stage in stages.values()
            for out in stage.get("outs", [])
            if _overlap(Path(out["path"]), Path(wanted))
        ]
        sources |= set() if makers else {wanted}
        for out, stage in makers:
            pending += [] if out in made else [dependency["path"] for dependency in stage.get("deps", [])]
            made.add(out)
            parameters |= stage.get("params", {}).get("params.yaml", {})
    return sources, made - {path}, parameters


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents


def _commit(sources: set[str]) -> str | None:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    inside = sorted(path for path in sources if not Path(path).is_absolute() and ".." not in Path(path).parts)
    if not inside:
        return None
    try:
        if git("rev-parse", "--is-shallow-repository") == "true":
            return None
        commit = git("log", "-1", "--format=%H", "--", *inside)
        changed = git("status", "--porcelain", "--", *inside)
    except (OSError, subprocess.CalledProcessError):
        return None  # no git here, or no commit yet
    return commit + "+uncommitted" * bool(changed) if commit else None


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
