"""What several stages read of ``data/prepared``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.config.model import ModelConfig
from velocity.errors import VelocityError
from velocity.text import TextTokenizer

if TYPE_CHECKING:
    from velocity.data.shards import Shards
    from velocity.model.asr import VelocityModel

PREPARED = Path("data/prepared")


def feature_statistics() -> dict[str, list[float]]:
    """{"mean": [80], "std": [80]} of the training set's log-mel. Raises VelocityError when ``prepare`` has not run."""
    try:
        return json.loads((PREPARED / "features.json").read_text())
    except OSError as error:
        raise VelocityError(f"{error.filename}: {error.strerror.lower()}; run the stage prepare first") from error


def vocabulary() -> int:
    """Number of CTC classes, blank included."""
    return TextTokenizer(PREPARED / "tokenizer.model").vocabulary


def fresh_model(config: ModelConfig) -> VelocityModel:
    """An untrained model for the tokenizer's classes and the training set's features, drawn by torch's generator."""
    from velocity.model.asr import VelocityModel

    model = VelocityModel(replace(config, vocabulary=vocabulary()))
    model.set_feature_statistics(**feature_statistics())
    return model


def training_shards(cache_gb: float) -> Shards | None:
    """Where the audio of the training set lies; None when it is read from the recordings themselves."""
    from velocity.data.shards import INDEX, Shards

    index = PREPARED / INDEX
    return Shards(index, round(cache_gb * 1e9)) if index.exists() else None
