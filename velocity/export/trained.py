"""Where the weights of an export come from: the stages of a project, or a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from velocity.config import load_params
from velocity.errors import VelocityError


@dataclass(frozen=True)
class Trained:
    """What an export is made from."""

    weights: Path
    calibration: Path  # read by INT8 targets only
    tokenizer: Path
    name: str
    synthetic: bool  # trained on no speech of people


def project_model() -> Trained:
    """What the stages of the project in the current folder have left. Raises VelocityError when they have not run."""
    weights = Path("models/finetuned.safetensors")
    if not weights.is_file():
        raise VelocityError(f"{weights}: no trained model here; run `make run`, or name a folder with --model M")
    corpora = load_params().corpora
    return Trained(
        weights,
        calibration=Path("models/calibration.json"),
        tokenizer=Path("data/prepared/tokenizer.model"),
        name="velocity-asr-v2-" + "-".join(sorted(corpora)),
        synthetic=all(corpus.kind == "synthetic" for corpus in corpora.values()),
    )


def folder_model(folder: Path) -> Trained:
    """A folder with ``model.safetensors``, ``tokenizer.model``, and for INT8 ``calibration.json``."""
    for name in ("model.safetensors", "tokenizer.model"):
        if not (folder / name).is_file():
            raise VelocityError(f"{folder}: holds no {name}; an export is made from weights, not from another artefact")
    described = json.loads((folder / "config.json").read_text()) if (folder / "config.json").is_file() else {}
    return Trained(
        folder / "model.safetensors",
        calibration=folder / "calibration.json",
        tokenizer=folder / "tokenizer.model",
        name=described.get("name", folder.resolve().name),
        synthetic=described.get("synthetic", False),
    )
