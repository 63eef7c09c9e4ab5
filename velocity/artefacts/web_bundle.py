"""The web bundle: page, worker and model in one folder, which any web server can serve.

It needs ONNX Runtime Web beside it, in ``ort/``: ``velocity.artefacts.site`` puts it there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from velocity.artefacts.web_runtime import PACKAGE, VERSION
from velocity.errors import VelocityError
from velocity.files import write_json
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.decoding.vocabulary import MODULE
from velocity.recognition.language_model.choice import language_model_file
from velocity.recognition.offline import VelocityASR
from velocity.text import TextTokenizer

PAGE = Path(__file__).parents[1] / "web"
PROMPTS = Path(__file__).parents[1] / "pretrained/prompts.txt"  # sentences to record


def bundle(artefact: Path, folder: Path) -> None:
    """Write the web bundle of an exported ONNX model into ``folder``, which exists and is empty.

    Raises VelocityError when ``artefact`` is no model that takes log-mel features of whole utterances, or its language
    model is missing.
    """
    try:
        config = json.loads((artefact / "config.json").read_text(encoding="utf-8"))
        unfit = "streaming" in config or config.get("input") == "waveform"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise VelocityError(
            f"{artefact / 'config.json'}: not the configuration of an exported model; export it again"
        ) from error
    if unfit:
        raise VelocityError(f"{artefact}: the page needs an offline model with log-mel input (target onnx-int8)")
    write_model(artefact, folder)
    write_json(folder / "config.json", config | {"target": "web"} | write_page(folder, artefact / "tokenizer.model"))


def write_model(artefact: Path, folder: Path) -> dict[str, Any]:
    """Copy the graph of ``artefact``, and its language model if that makes words of the graph's phones: the page reads
    phones where there is one, else letters. Returns what ``config.json`` says of the language model."""
    shutil.copyfile(artefact / "model.onnx", folder / "model.onnx")
    model = VelocityASR(artefact)
    if not (model.gives_phones and model.language_model and model.language_model.ngram.pronounces):
        return {}
    file = language_model_file(artefact, model.config)
    shutil.copyfile(file, folder / file.name)
    return {"language_model": model.config["language_model"]}


def write_page(folder: Path, tokenizer: Path) -> dict[str, Any]:
    """Write everything but the model. Returns the bundle's entries of ``config.json``: the runtime it was made for, and
    the length and digest of each file, in the form that browsers check (W3C, Subresource Integrity)."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    for file in (PROMPTS, MODULE):
        shutil.copyfile(file, folder / file.name)
    write_json(folder / "vocabulary.json", pieces(TextTokenizer(tokenizer)))
    files = {path.name: _describe(path.read_bytes()) for path in sorted(folder.iterdir())}
    return {"runtime": f"{PACKAGE}@{VERSION}", "files": files}


def _describe(content: bytes) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"bytes": len(content), "integrity": f"sha256-{digest}"}
