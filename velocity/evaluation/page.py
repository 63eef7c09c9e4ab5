"""The error report as one HTML page that needs nothing else: no library, no network, light and dark."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from velocity.evaluation.templates import render

UNSURE = 0.7  # words of less confidence are marked


def page(report: dict[str, Any], title: str, worst: int, folder: Path) -> str:
    """The ``worst`` utterances of an ``error_report`` and its tables; audio is linked as seen from ``folder``."""

    def link(entry: dict[str, Any]) -> str:
        """Relative, so that a project may move with its reports; the fragment plays one cut of a recording."""
        end = entry["start"] + entry["seconds"]
        return f"{quote(os.path.relpath(entry['audio'], folder))}#t={entry['start']:g},{end:.3f}"

    shown = report["errors"][:worst]
    functions = {"link": link, "columns": _columns, "digest": _digest}
    return render("error_report.html", **report, **functions, title=title, shown=shown, unsure=UNSURE)


def _columns(entry: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(reference word, hypothesis word, confidence); 1.0 where no confidence is known."""
    words = sum(bool(hypothesis) for _, hypothesis in entry["alignment"])
    known = len(entry["confidences"]) == words
    confidences = iter(entry["confidences"] if known else [1.0] * words)
    for reference, hypothesis in entry["alignment"]:
        yield reference, hypothesis, next(confidences) if hypothesis else 1.0


def _digest(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()
