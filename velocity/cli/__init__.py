"""The command ``velocity-asr``: options here, work in ``velocity.commands`` and the package.

Modules load inside the commands that need them: a transcription starts without anything it does not use.
"""

from __future__ import annotations

import os
import sys

import typer

from velocity.cli import transcribe, stream, serve, lm, evaluate, project, release  # noqa: F401  # isort: skip  (order of --help)
from velocity.cli.app import app
from velocity.errors import VelocityError


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a mistake becomes ``error: …`` on stderr and exit status 2, a traceback only with --debug."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Before NumPy loads: the features' products are small, and OpenBLAS' threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        status = app(given, prog_name="velocity-asr", standalone_mode=False)
    except (VelocityError, typer.BadParameter.__base__) as error:  # the latter: click's UsageError, wherever it lives
        if debug:
            raise
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except ModuleNotFoundError as error:
        if debug:
            raise
        print(f"error: {error.name} is not installed: pip install 'velocity-asr[pipeline]'", file=sys.stderr)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)
