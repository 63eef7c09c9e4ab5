"""The comment on a pull request: the gate's table, what was made, and DVC's diffs of parameters, metrics and plots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows import dvc_commands
from flows.sides import Side
from velocity.evaluation.markdown import table
from velocity.gate import Judgement
from velocity.gate.table import markdown

FILE = "comment.md"
ROWS = 60  # of a table: GitHub takes 65,536 characters
SAME = "**Pass**: the same model, run by the same code. There is nothing to judge."


def compose(base: Side, change: Side, judgement: Judgement | None, out: Path) -> str:
    """The comment; its pictures go to ``out``."""
    experiments = base.experiment, change.experiment
    parts = [
        "## Model check",
        markdown(judgement).strip() if judgement else SAME,
        "### What was made",
        stages(base, change),
        f"`dvc exp apply {change.experiment}` brings the results into the project that made them.",
    ]
    for title, kind in (("Parameters", "params"), ("Metrics", "metrics")):
        if rows := dvc_commands.diff(kind, *experiments):
            parts += [f"### {title}", folded(rows)]
    pictures = [f"![{title}]({draw(spec, out / name)})" for name, title, spec in plots(*experiments)]
    return "\n\n".join([*parts, *(["### Curves", *pictures] if pictures else [])]) + "\n"


def failed(reason: str) -> str:
    return f"## Model check\n\n**Could not judge**: {reason}\n"


def stages(base: Side, change: Side) -> str:
    names = dict.fromkeys([*base.stages, *change.stages])
    rows = [[f"`{name}`", *(side.stages.get(name, "–") for side in (base, change))] for name in names]
    return table(["stage", base.title, change.title], rows)


def folded(rows: str) -> str:
    """A table that is opened by a click, cut to what a comment can hold."""
    header, line, *body = rows.splitlines()
    more = [f"\nAnd {len(body) - ROWS:,} more."] if len(body) > ROWS else []
    opened = "\n".join([header, line, *body[:ROWS], *more])
    return f"<details><summary>{len(body):,} that differ</summary>\n\n{opened}\n\n</details>"


def plots(*experiments: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file name, title, Vega-Lite specification) of DVC's plots whose curves differ."""
    for path, specs in dvc_commands.plots(*experiments).items():
        for spec in specs:
            curves = [[] for _ in experiments]
            for row in spec["data"]["values"]:
                curves[experiments.index(row["rev"])].append({key: row[key] for key in row.keys() - {"rev"}})
            if any(curve != curves[0] for curve in curves):
                yield f"{re.sub(r'[^a-z0-9]+', '-', Path(path).stem.lower())}.png", title(spec, path), spec


def title(spec: dict[str, Any], path: str) -> str:
    named = spec.get("title") or path
    return named["text"] if isinstance(named, dict) else named


def draw(spec: dict[str, Any], path: Path) -> str:
    """Write the picture; returns its name."""
    import vl_convert

    path.write_bytes(vl_convert.vegalite_to_png(spec))
    return path.name
