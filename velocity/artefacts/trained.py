"""The trained weights that an export is made from: those of the project, or of a folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity import project
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from torch import nn

    from velocity.config.model import ModelConfig

LICENCE = "Apache-2.0"  # of the code, and of weights that are trained here; the speech has its own


@dataclass(frozen=True)
class Trained:
    """What an export is made from."""

    weights: Path
    calibration: Path  # read by INT8 targets only
    tokenizer: Path
    name: str
    synthetic: bool  # trained on synthetic speech alone
    licence: str | None = None  # of the weights, by its SPDX identifier; None: not known
    provenance: dict[str, Any] = field(default_factory=dict)
    input: Literal["mel", "waveform"] = "mel"  # of the artefact

    @property
    def config(self) -> ModelConfig:
        return self._stored[0]

    @cached_property
    def digest(self) -> str:
        """Of the weights, as ``sha256:…``."""
        with open(self.weights, "rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()

    @cached_property
    def _stored(self) -> tuple[ModelConfig, dict[str, Any]]:
        from velocity.model.asr import read_weights

        return read_weights(self.weights)

    def load(self, phones: bool = False) -> nn.Module:
        """The floating-point model that is exported: log-mel in, or samples in with the features inside. With its head
        for phones, if it has one, only for targets that ask for it: ``phones``."""
        from velocity.artefacts.waveform import WaveformModel
        from velocity.model.asr import VelocityModel

        config, state = self._stored
        model = VelocityModel(config)
        known = model.state_dict().keys()  # quantisation ranges are left out
        model.load_state_dict({name: tensor for name, tensor in state.items() if name in known})
        if not phones:
            model.phone_head = None
        return WaveformModel(model.eval()) if self.input == "waveform" else model.eval()

    def load_int8(self, phones: bool = False) -> nn.Module:
        """The INT8 model in PyTorch, fake-quantised with the calibrated ranges; ``phones`` as in ``load``."""
        from velocity.quantization.calibration import load_quantized

        model = load_quantized(self.weights, self.calibration)
        if not phones:
            model.phone_head = None
        return model


def project_model() -> Trained:
    """What the project in the current folder has trained. Raises VelocityError when its stages have not run."""
    from velocity.config.reader import read_params

    if not project.FINETUNED.is_file():
        raise VelocityError(
            f"{project.FINETUNED}: no trained model here; run `make run`, or name a folder with --model M"
        )
    params = read_params()
    corpora = params["corpora"]
    return Trained(
        project.FINETUNED,
        calibration=project.CALIBRATION,
        tokenizer=project.TOKENIZER,
        name=params["name"] or "velocity-asr-v2-" + "-".join(sorted(corpora)),
        synthetic=all(corpus["kind"] == "synthetic" for corpus in corpora.values()),
        licence=LICENCE,
    )


def folder_model(folder: Path) -> Trained:
    """A folder with ``model.safetensors``, ``tokenizer.model``, and for INT8 ``calibration.json``. Name, licence and
    provenance in its ``config.json`` are kept."""
    for name in ("model.safetensors", "tokenizer.model"):
        if not (folder / name).is_file():
            raise VelocityError(f"{folder}: holds no {name}; an export is made from weights, not from another artefact")
    described = {}
    if (folder / "config.json").is_file():
        try:
            described = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise VelocityError(f"{folder / 'config.json'}: damaged; repair or remove it") from error
    return Trained(
        folder / "model.safetensors",
        calibration=folder / "calibration.json",
        tokenizer=folder / "tokenizer.model",
        name=described.get("name", folder.resolve().name),
        synthetic=described.get("synthetic", False),
        licence=described.get("licence"),
        provenance=described.get("provenance", {}),
    )
