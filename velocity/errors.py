"""Errors whose message is meant for the user: one line that names the file or key and what to do."""

from __future__ import annotations


class VelocityError(Exception):
    """Bad input or a broken precondition. Commands print its message on one line and exit with status 2."""
