"""A judgement as Markdown for pull requests and reports, and as plain lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from velocity.evaluation.markdown import table
from velocity.gate.judgement import Judgement, Row, Verdict

OUTCOMES = {
    Verdict.PASS: "may replace the champion",
    Verdict.REGRESSION: "is refused",
    Verdict.UNCLEAR: "could not be judged",
}
HEADER = ["metric", "champion", "candidate", "difference (95 % interval)", "limit", "verdict", "reason"]


def markdown(judgement: Judgement) -> str:
    """One sentence and one table."""
    champion = f"compared with `{judgement.champion}`" if judgement.champion else "with no champion to compare with"
    sentence = (
        f"**{judgement.verdict.capitalize()}**: `{judgement.candidate}`, {champion}, {OUTCOMES[judgement.verdict]}."
    )
    return f"{sentence}\n\n{table(HEADER, [_cells(row) for row in judgement.rows])}\n"


def plain(judgement: Judgement) -> Iterator[str]:
    """Lines for a terminal."""
    width = max(len(row.metric) for row in judgement.rows)
    for row in judgement.rows:
        metric, champion, candidate, difference, _, _, reason = _cells(row)
        figures = f"{champion} → {candidate}, {difference}; " if row.candidate is not None else ""
        yield f"{metric:<{width}}  {row.verdict.upper()}: {figures}{reason}"
    yield f"{'verdict':<{width}}  {judgement.verdict.upper()}: {judgement.candidate} {OUTCOMES[judgement.verdict]}"


def _cells(row: Row) -> list[str]:
    verdict = row.verdict if row.verdict is Verdict.PASS else f"**{row.verdict}**"
    digits = 4 if row.unit == "×" else 2
    unit = {"": "", "×": ""}.get(row.unit, f" {row.unit}")
    own = [f"{value:.{digits}f}{unit}" if value is not None else "–" for value in (row.champion, row.candidate)]
    return [row.metric, *own, difference(row), limit(row), verdict, row.reason]


def difference(row: Row) -> str:
    """``+2.10 points (+1.20 to +3.00)``, ``1.31 × (1.29 to 1.32)``, ``-0.10 MB``."""
    if row.difference is None:
        return "–"
    sign, unit = ("", "×") if row.unit == "×" else ("+", {"%": "points"}.get(row.unit, row.unit))
    between = f" ({' to '.join(f'{bound:{sign}.2f}' for bound in row.interval)})" if row.interval else ""
    return f"{row.difference:{sign}.2f} {unit}{between}"


def limit(row: Row) -> str:
    if row.limit is None:
        return "–"
    return {"%": f"+{row.limit:g} points", "×": f"{row.limit:g} ×"}.get(row.unit, f"{row.limit:g} {row.unit}")
