"""A model that knows a list of words and phrases: in its language model, and as hot words of its configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from velocity.files import atomic_directory, write_json
from velocity.phones import pronunciations
from velocity.recognition.language_model.additions import with_words
from velocity.recognition.language_model.choice import language_model_file
from velocity.recognition.language_model.file import write_file
from velocity.recognition.language_model.ngram import read_tables

LANGUAGE_MODEL = "vocabulary.lm"


def export_with_vocabulary(model: Path, phrases: Mapping[str, float], name: str, folder: Path) -> None:
    """``folder``: the artefact in ``model``, named ``name``, with ``phrases`` → nats per letter as its hot words, and
    their words in its language model, if it has one, pronounced if its other words are."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    with atomic_directory(folder) as partial:
        shutil.copytree(model, partial, dirs_exist_ok=True)
        if lm := language_model_file(model, config):
            (partial / lm.name).unlink(missing_ok=True)
            words = (word for phrase in phrases for word in phrase.split())
            write_file(with_words(read_tables(lm), words, pronounce=pronunciations), partial / LANGUAGE_MODEL)
            config["language_model"] |= {"file": LANGUAGE_MODEL}
        config["hotwords"] = {**config.get("hotwords", {}), **phrases}
        write_json(partial / "config.json", config | {"name": name})
