"""Whether an adapted model may be written: better for the person who spoke, and hardly worse for anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from velocity.evaluation.wer import summarize
from velocity.gate import Hypotheses, Judgement, Row, Verdict
from velocity.gate.statistics import Difference, paired_difference

OWN, GENERAL = "your held-out speech", "general speech"
TOLERANCE = 1.0  # points of WER that may be lost on general speech


def judge_adaptation(base: str, adapted: str, hypotheses: dict[str, Hypotheses], resamples: int) -> Judgement:
    """``hypotheses`` of both models (the base as champion) for OWN, GENERAL or both.

    Pass: on OWN the 95 % interval of the difference lies below 0 (paired bootstrap over utterances), and on GENERAL the
    adapted model is at most TOLERANCE points worse. All else is refused, for there is a model already: the base.
    """
    found = {name: paired_difference(*both.scores(), resamples) for name, both in hypotheses.items()}
    rows = [{OWN: _own, GENERAL: _general}[name](difference) for name, difference in found.items()]
    worst = Verdict.PASS if all(row.verdict is Verdict.PASS for row in rows) else Verdict.REGRESSION
    return Judgement(adapted, base, worst, rows)


def keeps(general: Hypotheses) -> bool:
    """Whether the adapted model is at most TOLERANCE points worse."""
    base, adapted = general.scores()
    return _within(100 * (adapted.wer - base.wer))


def _within(points: float) -> bool:
    return round(points, 6) <= TOLERANCE


def _own(wer: Difference) -> Row:
    row = _row(OWN, wer, limit=0.0)
    if wer.interval[1] < 0:
        return replace(row, reason=f"better by {-row.difference:.1f} points, more than chance explains")
    reason = "no better" if row.difference >= 0 else f"better by {-row.difference:.1f} points, which may be chance"
    return replace(row, verdict=Verdict.REGRESSION, reason=f"{reason}, in {wer.utterances} recordings")


def _general(wer: Difference) -> Row:
    row = _row(GENERAL, wer, limit=TOLERANCE)
    if _within(row.difference):
        return replace(row, reason=f"not more than {TOLERANCE:g} point worse")
    reason = f"worse by {row.difference:.1f} points: it would forget how others speak"
    return replace(row, verdict=Verdict.REGRESSION, reason=reason)


def _row(name: str, wer: Difference, limit: float) -> Row:
    rates = (100 * wer.champion, 100 * wer.candidate, 100 * wer.difference)
    return Row(f"WER on {name}", "%", *rates, tuple(100 * bound for bound in wer.interval), limit)


def rates(hypotheses: dict[str, Hypotheses], resamples: int) -> dict[str, Any]:
    """Speech → "base" and "adapted" → the figures of ``summarize``."""
    return {
        name: dict(zip(("base", "adapted"), (summarize(score, resamples) for score in both.scores()), strict=True))
        for name, both in hypotheses.items()
    }


def table(judgement: Judgement, measured: dict[str, Any]) -> Iterator[str]:
    """Lines for a terminal: a row each for OWN and GENERAL, with both rates and all intervals, and the reasons."""
    width = max(map(len, measured))
    yield f"{'WER':<{width}}  {'base':<21}  {'adapted':<21}  difference (95 % intervals)"
    for (name, both), row in zip(measured.items(), judgement.rows, strict=True):
        cells = [f"{100 * both[who]['wer']:.1f} % ({_interval(both[who]['wer_ci95'])})" for who in both]
        between = " to ".join(f"{bound:+.1f}" for bound in row.interval)
        yield f"{name:<{width}}  {cells[0]:<21}  {cells[1]:<21}  {row.difference:+.1f} points ({between})"
    for (name, _), row in zip(measured.items(), judgement.rows, strict=True):
        yield f"{name}: {row.reason}"


def _interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"
