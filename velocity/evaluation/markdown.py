"""Markdown tables and rates. It imports nothing, so the gate, the flows and the ablations may all use it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def rate(value: float, interval: Sequence[float] | None = None) -> str:
    """0.0421, [0.035, 0.05] → ``4.2 % (3.5–5.0)``."""
    shown = f"{100 * value:.1f} %"
    return f"{shown} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else shown


def difference(entry: dict, digits: int = 1) -> str:
    """The ``difference`` of two rates in points: ``+1.2 (0.4 to 2.0)``, bold if ``significant``, – if there is none."""
    if "difference" not in entry:
        return "–"
    points = [100 * value for value in (entry["difference"], *entry["difference_ci95"])]
    shown = "{} ({} to {})".format(*(f"{value:+.{digits}f}" for value in points))
    return f"**{shown}**" if entry["significant"] else shown


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
