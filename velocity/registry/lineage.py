"""Which version of the registered model another one was trained from."""

from __future__ import annotations

import json
from pathlib import Path

from velocity.artefacts.target import RELEASED
from velocity.errors import VelocityError
from velocity.files import md5
from velocity.project import EXPORTED, locked_stages

MODEL = "model/md5"  # tag of a version: the bytes by which what was trained from it names it
BASE, BASE_MODEL = "base", "base/md5"
PARENT = "parent"  # the version with these bytes


def lineage() -> dict[str, str]:
    """Tags of the project's model: its own bytes, and the name and bytes of the released model it was trained from, if
    it was (``finetune.base``, by dvc.lock). Raises VelocityError when that model is not there any more."""
    tags = {MODEL: md5(EXPORTED / RELEASED / "model.onnx")}
    parameters = locked_stages().get("finetune", {}).get("params", {}).get("params.yaml", {})
    if base := parameters.get("finetune", {}).get("base"):
        try:
            name = json.loads(Path(base, "config.json").read_text(encoding="utf-8"))["name"]
            tags |= {BASE: name, BASE_MODEL: md5(Path(base, "model.onnx"))}
        except (OSError, ValueError, KeyError) as error:
            raise VelocityError(f"finetune.base: {base}: the model was trained from it, and {error}") from error
    return tags
