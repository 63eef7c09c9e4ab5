"""An artefact between the base and what was trained from it, in one training or several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import RELEASED, export_target
from velocity.artefacts.trained import Trained
from velocity.files import write_json

if TYPE_CHECKING:
    from velocity.model.asr import VelocityModel


def export_average(
    weights: Sequence[Path], base: Path, share: float, name: str, described: Mapping[str, Any], folder: Path
) -> None:
    """``folder/model``: base + share · (trained − base), in 8 bits, ``trained`` being the mean of ``weights`` and of
    their ranges; with the licence of the base, which ``described`` (its config.json) states, and its language model if
    it has one."""
    from velocity.model.asr import save_model
    from velocity.quantization.base import average_with, read_base
    from velocity.quantization.calibration import load_quantizable
    from velocity.quantization.linear import quantized_layers

    model, _ = load_quantizable(weights[0])
    average_over(model, [load_quantizable(other)[0] for other in weights[1:]])
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


def average_over(model: VelocityModel, others: Sequence[VelocityModel]) -> None:
    """Every weight and range becomes its mean over ``model`` and ``others``, which were trained from the same weights.

    Wortsman et al. 2022, "Model soups" (ICML).
    """
    import torch

    states = [other.state_dict() for other in others]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([tensor, *(state[name] for state in states)]).mean(0))
