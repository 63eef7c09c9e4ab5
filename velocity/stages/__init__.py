"""The DVC stages: each module reads params and inputs, calls the package, writes outputs, and does nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def run(stage: Callable[[], None]) -> None:
    """Run a stage as a command: a user's mistake becomes one line on stderr and exit status 2."""
    from velocity.errors import VelocityError

    try:
        stage()
    except VelocityError as error:
        if os.environ.get("VELOCITY_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
