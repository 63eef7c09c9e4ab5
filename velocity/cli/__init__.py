"""The command ``velocity-asr``: options are declared here, ``velocity.commands`` and the package do the work.

Commands import what they need when they run, so that a transcription starts fast.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys

import typer

from velocity.cli import transcribe, stream, record, label, adapt, serve, lm, evaluate, project, release  # noqa: F401  # isort: skip  (order of --help)
from velocity.cli.app import app
from velocity.errors import VelocityError, notes_on_stderr, reason
from velocity.loopback import bypass_proxies

ESCAPED = "velocity-asr"  # for characters that an output's encoding lacks: as JSON escapes them, which text may be too


def _escape(error: UnicodeError) -> tuple[str, int]:
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


codecs.register_error(ESCAPED, _escape)


def _exit(number: int, _: object) -> None:
    """Exit as the signal would, but clean up: temporary files are removed on the way."""
    sys.exit(128 + number)


def main(arguments: list[str] | None = None) -> None:
    """Run the command. Errors print ``error: …`` on stderr and exit with status 2; --debug shows the traceback."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    # Must be set before NumPy loads: the matrix products of the features are too small for OpenBLAS' threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    bypass_proxies()
    signal.signal(signal.SIGTERM, _exit)
    debug = "--debug" in line
    line = [argument for argument in line if argument != "--debug"] or ["--help"]
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors=ESCAPED)
    try:
        with notes_on_stderr():
            if sys.stdout is None:
                raise VelocityError("standard output is closed: results would be lost")
            if "" in line:  # would be the current folder
                raise VelocityError("an argument is empty; is a variable of the calling script not set?")
            status = app(line, prog_name="velocity-asr", standalone_mode=False)
            sys.stdout.flush()  # a full disk may show only now
    except BrokenPipeError:
        raise
    except (VelocityError, OSError, typer.BadParameter.__base__) as error:  # the last is click's UsageError
        if debug:
            raise
        message = error.format_message() if hasattr(error, "format_message") else reason(error)
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except ModuleNotFoundError as error:
        if debug:
            raise
        print(f"error: {error.name} is not installed: pip install 'velocity-asr[pipeline]'", file=sys.stderr)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)
