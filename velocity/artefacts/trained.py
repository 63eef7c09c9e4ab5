"""Where the weights of an export come from: the stages of a project, or a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity.artefacts.provenance import LICENCE, project_provenance
from velocity.config import load_params
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Trained:
    """What an export is made from."""

    weights: Path
    calibration: Path  # read by INT8 targets only
    tokenizer: Path
    name: str
    synthetic: bool  # trained on no speech of people
    licence: str | None = None  # of the weights, by its SPDX identifier; None: not known
    provenance: dict[str, Any] = field(default_factory=dict)
    input: Literal["mel", "waveform"] = "mel"  # of the artefact

    def load(self) -> nn.Module:
        """The floating-point model as it is exported: log-mel in, or samples in with the features inside."""
        from velocity.artefacts.waveform import WaveformModel
        from velocity.model.asr import load_model

        model = load_model(self.weights)
        return WaveformModel(model) if self.input == "waveform" else model


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
        licence=LICENCE,
        provenance=project_provenance(weights),
    )


def folder_model(folder: Path) -> Trained:
    """A folder with ``model.safetensors``, ``tokenizer.model``, and for INT8 ``calibration.json``. What a
    ``config.json`` in it says of their origin holds on."""
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
        licence=described.get("licence"),
        provenance=described.get("provenance", {}),
    )
