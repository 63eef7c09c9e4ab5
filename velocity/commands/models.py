"""The model a command works with: an artefact as it is, or trained weights, exported when they are first used."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from velocity.files import user_cache
from velocity.project import EXPORTED
from velocity.recognition.offline import find_model

SHIPPED_MODEL = "velocity-asr-v2"  # where there is no such folder
SHIPPED_STREAMING = "velocity-asr-v2-streaming"  # its causal sister


def find_artefact(model: str | None, quantized: bool) -> Path:
    """The folder with ``model.onnx`` for ``--model M``; without M, this project's export or else the shipped model.

    A folder with ``model.safetensors`` is exported into the user's cache, once for the same contents: INT8 needs its
    ``calibration.json``, without one it is floating point. Raises VelocityError when there is no such model.
    """
    chosen = model or (str(EXPORTED) if EXPORTED.is_dir() else SHIPPED_MODEL)
    weights = Path(chosen) / "model.safetensors"
    if not weights.is_file() or (weights.parent / "model.onnx").exists():
        return find_model(chosen, quantized)
    int8 = quantized and (weights.parent / "calibration.json").is_file()
    return _export(weights.parent, "onnx-int8" if int8 else "onnx")


def _export(folder: Path, target: str) -> Path:
    import velocity
    from velocity.artefacts.target import export_target
    from velocity.artefacts.trained import folder_model

    trained = folder_model(folder)
    digest = hashlib.sha256(velocity.__version__.encode())
    for path in (trained.weights, trained.tokenizer, trained.calibration):
        digest.update(path.read_bytes() if path.is_file() else b"none")
    artefact = user_cache() / digest.hexdigest()[:16] / target
    if not artefact.is_dir():
        print(f"{folder}: exporting its weights as {target}, which takes about a minute, once", file=sys.stderr)
        export_target(target, trained, artefact)
    return artefact
