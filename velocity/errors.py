"""Errors for the user: one line that names the file or key and what to do, without passwords."""

from __future__ import annotations

import re

CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
SIGNATURES = re.compile(r"(?<=[?&])([\w.-]*(?:token|secret|signature|password|key)[\w.-]*=)[^&#\s]+", re.IGNORECASE)


class VelocityError(Exception):
    """Bad input or a violated precondition. Commands print the message on one line and exit with status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


def without_credentials(text: str) -> str:
    """``https://user:password@host/?token=x`` → ``https://host/?token=…``, anywhere in ``text``."""
    return SIGNATURES.sub(r"\1…", CREDENTIALS.sub("", text))
