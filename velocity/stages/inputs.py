"""What the stages of training read of the prepared data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from velocity.config.model import ModelConfig
from velocity.config.reader import load_section
from velocity.errors import VelocityError
from velocity.project import FEATURES, PREPARED, TOKENIZER
from velocity.text import TextTokenizer

if TYPE_CHECKING:
    from velocity.data.shards import Shards
    from velocity.model.asr import VelocityModel


def feature_statistics() -> dict[str, list[float]]:
    """{"mean": [80], "std": [80]} of the training set's log-mel. Raises VelocityError when ``prepare`` has not run."""
    try:
        return json.loads(FEATURES.read_text())
    except OSError as error:
        raise VelocityError(f"{error.filename}: {error.strerror.lower()}; run the stage prepare first") from error


def fresh_model(config: ModelConfig) -> VelocityModel:
    """An untrained model for the tokenizer's classes and the training set's features, drawn by torch's generator."""
    from velocity.model.asr import VelocityModel

    model = VelocityModel(replace(config, vocabulary=TextTokenizer(TOKENIZER).vocabulary))
    model.set_feature_statistics(**feature_statistics())
    return model


def training_shards() -> Shards | None:
    """The shards that hold the audio of the training set; None when the recordings themselves are read."""
    from velocity.data.shards import INDEX, Shards

    index = PREPARED / INDEX
    if not index.exists():
        return None
    return Shards(index, round(load_section("prepare.shards.cache_gb", float) * 1e9))
