"""Curves as CSV, which ``dvc plots`` and the report read."""

from __future__ import annotations

from pathlib import Path

from velocity.files import write_text


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """One line a row, columns as in the first row, floats with all their digits."""
    columns = list(rows[0])
    lines = [",".join(columns)] + [",".join(repr(row[column]) for column in columns) for row in rows]
    write_text(path, "\n".join(lines) + "\n")
