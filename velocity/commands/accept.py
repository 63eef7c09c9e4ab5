"""``velocity-asr accept``: the data that passed validation becomes what later deliveries are compared with."""

from __future__ import annotations

import json

from velocity.errors import VelocityError
from velocity.files import write_json
from velocity.project import ACCEPTED, DISTRIBUTIONS


def accept() -> list[str]:
    """Copy the distributions of the last validation that passed; return a line for each corpus.

    Raises VelocityError when none has.
    """
    try:
        passed = json.loads(DISTRIBUTIONS.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VelocityError(f"{DISTRIBUTIONS}: no validation has passed here; run `dvc repro validate`") from error
    write_json(ACCEPTED, passed)
    return [f"{name}: {figures['recordings']} recordings" for name, figures in passed.items()]
