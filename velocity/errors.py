"""Errors for the user: one line that names the file or key and what to do, without passwords."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
SIGNATURES = re.compile(r"(?<=[?&])([\w.-]*(?:token|secret|signature|password|key)[\w.-]*=)[^&#\s]+", re.IGNORECASE)


class VelocityError(Exception):
    """Bad input or a violated precondition. Commands print the message on one line and exit with status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class VelocityWarning(UserWarning):
    """Input that is used although something is wrong with it. Commands print the message as a line ``note: …``."""


@contextmanager
def notes_on_stderr(repeat: bool = True) -> Iterator[None]:
    """Within the block, every VelocityWarning is a line ``note: …`` on stderr; without ``repeat``, once."""
    with warnings.catch_warnings():
        warnings.simplefilter("always" if repeat else "default", VelocityWarning)
        show = warnings.showwarning

        def show_note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, VelocityWarning):
                print(f"note: {message}", file=sys.stderr)
            else:
                show(message, category, *where, **more)

        warnings.showwarning = show_note
        yield


def reason(error: Exception) -> str:
    """An error's message; for the system's errors, what went wrong with which file."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    where = error.filename2 or error.filename  # of two, the one that was to be written
    return f"{printable(where)}: {error.strerror.lower()}" if where else error.strerror.lower()


def printable(path: str | Path) -> str:
    """``path`` on one line of valid text; unprintable characters are escaped as in Python."""
    escape = lambda c: c.encode("unicode_escape").decode()  # noqa: E731
    return "".join(c if c.isprintable() else escape(c) for c in str(path))


def without_credentials(text: str) -> str:
    """``https://user:password@host/?token=x`` → ``https://host/?token=…``, anywhere in ``text``."""
    return SIGNATURES.sub(r"\1…", CREDENTIALS.sub("", text))
