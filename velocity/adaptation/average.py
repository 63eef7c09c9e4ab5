"""An artefact between the base and what was trained from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from velocity.artefacts.target import RELEASED, export_target
from velocity.artefacts.trained import Trained
from velocity.files import write_json


def export_average(
    weights: Path, base: Path, share: float, name: str, described: Mapping[str, Any], folder: Path
) -> None:
    """``folder/model``: base + share · (trained − base), in 8 bits with the ranges of the training; with the licence of
    the base, which ``described`` (its config.json) states, and its language model if it has one."""
    from velocity.model.asr import save_model
    from velocity.quantization.base import average_with, read_base
    from velocity.quantization.calibration import load_quantizable
    from velocity.quantization.linear import quantized_layers

    model, _ = load_quantizable(weights)
    average_with(model, read_base(base), share)
    save_model(model, folder / "model.safetensors")
    ranges = {layer: module.activation_range() for layer, module in quantized_layers(model).items()}
    write_json(
        folder / "calibration.json",
        {"layers": {key: {"low": low, "high": high} for key, (low, high) in ranges.items()}},
    )
    trained = Trained(
        folder / "model.safetensors",
        calibration=folder / "calibration.json",
        tokenizer=base / "tokenizer.model",
        name=name,
        synthetic=False,
        licence=described.get("licence"),
        provenance={"base": described["name"], "base_provenance": described.get("provenance", {}), "share": share},
    )
    export_target(RELEASED, trained, folder / "model")
    if entry := described.get("language_model"):
        if (base / entry["file"]).is_file():  # else it lies in the package
            shutil.copyfile(base / entry["file"], folder / "model" / entry["file"])
        config = json.loads((folder / "model/config.json").read_text(encoding="utf-8"))
        write_json(folder / "model/config.json", config | {"language_model": entry})
