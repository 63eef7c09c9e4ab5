"""What several stages read of ``data/prepared``."""

from __future__ import annotations

import json
from pathlib import Path

from velocity.errors import VelocityError
from velocity.text import TextTokenizer

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
