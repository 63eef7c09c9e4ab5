"""What an artefact states about itself: in ``config.json``, and in the model file for whoever has only that.

It follows from the inputs alone. There is no time, no place and nothing of git in it, so the same weights give the
same bytes anywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from velocity.audio import HOP, MEL_BINS, SAMPLE_RATE
from velocity.recognition.decoding.pieces import pieces
from velocity.text import TextTokenizer

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained

NORMALIZER = "velocity-english"


def describe(trained: Trained, target: str) -> dict[str, Any]:
    """The part of ``config.json`` that every artefact of these weights has."""
    config = trained.config
    return {
        "format": 1,
        "name": trained.name,
        "target": target,
        "input": trained.input,
        "sample_rate": SAMPLE_RATE,
        "mel_bins": MEL_BINS,
        "frame_seconds": config.stride * HOP / SAMPLE_RATE,
        "vocabulary": config.vocabulary,
        "blank": 0,
        "normalizer": NORMALIZER,
        "synthetic": trained.synthetic,
        "licence": trained.licence,
        "provenance": trained.provenance | {"weights": trained.digest},
        "model": config.to_dict(),
    }


def labels(trained: Trained, target: str) -> dict[str, str]:
    """The same and the text of each class, for the metadata of a model file; values that are not text become JSON."""
    described = describe(trained, target) | {"classes": pieces(TextTokenizer(trained.tokenizer))}
    return {
        key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in described.items()
    }
