"""The language model that a recogniser decodes with: its own, another one, or none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError
from velocity.recognition.language_model.ngram import NGram

SHIPPED = Path(__file__).parents[2] / "pretrained"  # the package's models and the language model that they share
NONE = "none"  # --lm none
LM_WEIGHT = 0.5
WORD_BONUS = 2.0  # nats; a language model alone prefers few words


@dataclass(frozen=True)
class LanguageModel:
    """The n-grams, and what fits them to an acoustic model: their weight, and a bonus per word in nats."""

    ngram: NGram
    weight: float = LM_WEIGHT
    word_bonus: float = WORD_BONUS


def language_model(folder: Path, config: Mapping[str, Any], lm: str | Path | None = None) -> LanguageModel | None:
    """For ``lm`` None the one that the ``config`` of the exported model in ``folder`` names, if it does; for "none",
    none; otherwise the file ``lm``, with the weights of ``config``, if it has any.

    The entry is ``"language_model": {"file": NAME, "weight": f, "word_bonus": f}``. The file lies beside the model or
    in the package. Raises VelocityError when it is missing or damaged, or the entry is not like this.
    """
    if str(lm) == NONE:
        return None
    shipped = language_model_file(folder, config)
    if shipped is None:
        return LanguageModel(NGram(lm)) if lm is not None else None
    entry = config["language_model"]
    return LanguageModel(NGram(shipped if lm is None else lm), float(entry["weight"]), float(entry["word_bonus"]))


def language_model_file(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The file that ``config`` names, which may be missing. Raises VelocityError for an entry that is not as above."""
    entry = config.get("language_model")
    if entry is None:
        return None
    try:
        name, weight, bonus = str(entry["file"]), float(entry["weight"]), float(entry["word_bonus"])
        if not (math.isfinite(weight) and weight >= 0 and math.isfinite(bonus)) or Path(name).name != name:
            raise ValueError(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise VelocityError(
            f"{folder / 'config.json'}: language_model must have file, weight and word_bonus; "
            "`velocity-asr lm tune --write` writes them, --lm none ignores them"
        ) from error
    return folder / name if (folder / name).exists() else SHIPPED / name


def own_hotwords(folder: Path, config: Mapping[str, Any], lm: str | Path | None = None) -> dict[str, float]:
    """``"hotwords": {phrase: nats per letter}`` of a model's ``config``, which ``velocity-asr adapt --vocabulary``
    writes; for ``lm`` "none", which asks for the best path, none.

    Raises VelocityError when the entry is not like this.
    """
    entry = config.get("hotwords", {})
    if not isinstance(entry, dict) or not all(type(nats) in (int, float) and 0 < nats < 100 for nats in entry.values()):
        raise VelocityError(f"{folder / 'config.json'}: hotwords must map phrases to nats per letter")
    return {} if str(lm) == NONE else dict(entry)
