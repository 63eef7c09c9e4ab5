"""The artefacts: a folder a target, with the model, its configuration and its tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_json

TARGETS = ("onnx", "onnx-int8")


def export_target(
    target: str, weights: Path, calibration: Path, tokenizer: Path, folder: Path, name: str, synthetic: bool
) -> None:
    """Write ``model.onnx``, ``config.json`` and ``tokenizer.model`` to ``folder``, all of them or none.

    ``synthetic`` says that the model has heard no speech of people. Raises VelocityError for an unknown target and for
    inputs that do not fit each other.
    """
    from velocity.export.onnx import export_onnx
    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized
    from velocity.quantization.linear import quantized_layers

    if target not in TARGETS:
        raise VelocityError(f"{target}: unknown export target; known are {', '.join(TARGETS)}")
    if target == "onnx":
        model = load_model(weights)
    else:
        model = load_quantized(weights, calibration)
        for layer in quantized_layers(model).values():
            layer.prepare_export()
    config = {
        "format": 1,
        "name": name,
        "target": target,
        "sample_rate": SAMPLE_RATE,
        "mel_bins": MEL_BINS,
        "frame_seconds": model.config.stride * HOP / SAMPLE_RATE,
        "vocabulary": model.config.vocabulary,
        "blank": 0,
        "normalizer": "velocity-english",
        "synthetic": synthetic,
        "model": model.config.to_dict(),
    }
    with atomic_directory(folder) as partial:
        export_onnx(model, partial / "model.onnx")
        write_json(partial / "config.json", config)
        shutil.copyfile(tokenizer, partial / "tokenizer.model")
