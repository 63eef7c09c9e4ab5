"""The verdict on measured facts. It measures nothing: the same facts and limits always give the same verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from velocity.config.gate import Gate
from velocity.gate.facts import Facts
from velocity.gate.statistics import Difference, Ratio


class Verdict(StrEnum):
    PASS = "pass"
    REGRESSION = "regression"
    UNCLEAR = "could not judge"

    @property
    def status(self) -> int:
        """Exit status of the commands."""
        return {Verdict.PASS: 0, Verdict.REGRESSION: 1, Verdict.UNCLEAR: 2}[self]


@dataclass(frozen=True)
class Row:
    """One metric. Error rates are in per cent, their differences in points; ``interval`` is the 95 % interval."""

    metric: str
    unit: str  # "%", "×", "MB" or "": the difference of a metric in × is the ratio to the champion's
    champion: float | None = None
    candidate: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    verdict: Verdict = Verdict.PASS
    reason: str = ""


@dataclass(frozen=True)
class Judgement:
    candidate: str
    champion: str | None
    verdict: Verdict
    rows: Sequence[Row]

    @property
    def reasons(self) -> list[str]:
        """Why it is not a pass; empty when it is."""
        return [f"{row.metric}: {row.reason}" for row in self.rows if row.verdict is not Verdict.PASS]

    @property
    def better(self) -> bool:
        """A pass with significantly fewer errors on some test set, or without a champion."""
        fewer = any(row.unit == "%" and row.interval[1] < 0 for row in self.rows)
        return self.verdict is Verdict.PASS and (self.champion is None or fewer)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"reasons": self.reasons, "better": self.better}


def judge(facts: Facts, limits: Gate) -> Judgement:
    """One regression makes the verdict a regression; otherwise one unclear metric makes it unclear."""
    rows = [_wer(name, difference, limits) for name, difference in facts.wer.items()]
    rows += [_speed(facts.speed, limits)] if facts.speed else []
    for metric, what, limit in (
        ("size of model.onnx", "model", limits.max_megabytes),
        ("peak memory", "peak_rss", limits.max_rss_megabytes),
    ):
        sizes = {role: getattr(found, what) / 1e6 for role, found in facts.sizes.items()}
        rows.append(_size(metric, sizes["candidate"], sizes.get("champion"), limit))
    rows += [] if facts.parity is None else [_parity(facts.parity)]
    verdicts = [row.verdict for row in rows]
    worst = next((v for v in (Verdict.REGRESSION, Verdict.UNCLEAR) if v in verdicts), Verdict.PASS)
    return Judgement(facts.candidate, facts.champion, worst, rows)


def _wer(test_set: str, wer: Difference, limits: Gate) -> Row:
    """A superiority test and a non-inferiority test on the paired bootstrap of the difference.

    - Regression: worse by more than ``wer_tolerance`` points, and the 95 % interval excludes 0. On one test set this
      rejects at most about 1 in 40 candidates that equal the champion.
    - Pass: a regression of ``wer_detectable`` points is ruled out (``Difference.at_most``, 97.5 %). At most about 1 in
      40 candidates that are worse by so much pass.
    - Could not judge: neither. The test set is too small, or the models differ too much.
    """
    points, (low, high) = 100 * wer.difference, (100 * bound for bound in wer.interval)
    if points > limits.wer_tolerance and low > 0:
        verdict = Verdict.REGRESSION
        reason = f"worse by {points:.2f} points, more than {limits.wer_tolerance:g} and than chance explains"
        reason += f" (p = {wer.p_value:.2g})"
    elif 100 * wer.at_most < limits.wer_detectable:
        verdict = Verdict.PASS
        reason = f"{limits.wer_detectable:g} points more are ruled out: at most {100 * wer.at_most:+.2f}"
    else:
        verdict = Verdict.UNCLEAR
        reason = f"{wer.utterances:,} utterances cannot rule out {limits.wer_detectable:g} points more: "
        reason += f"{100 * wer.at_most:+.2f} is possible"
    rates = (100 * wer.champion, 100 * wer.candidate, points)
    return Row(f"WER on {test_set}", "%", *rates, (low, high), limits.wer_tolerance, verdict, reason)


def _speed(speed: Ratio, limits: Gate) -> Row:
    """Regression if the interval of the ratio is above the limit, pass if it is below, otherwise unclear."""
    low, high = speed.interval
    if low > limits.rtf_tolerance:
        verdict, reason = Verdict.REGRESSION, f"takes {speed.ratio:.2f} times as long as the champion"
    elif high <= limits.rtf_tolerance:
        verdict, reason = Verdict.PASS, f"takes at most {high:.2f} times as long"
    else:
        verdict = Verdict.UNCLEAR
        reason = f"between {low:.2f} and {high:.2f} times as long; measure again with more rounds"
    figures = (speed.champion, speed.candidate, speed.ratio, speed.interval)
    return Row("real-time factor, 1 thread", "×", *figures, limits.rtf_tolerance, verdict, reason)


def _size(metric: str, candidate: float, champion: float | None, limit: float) -> Row:
    difference = None if champion is None else candidate - champion
    row = Row(metric, "MB", champion, candidate, difference, limit=limit, reason="within the limit")
    if candidate <= limit:
        return row
    return replace(row, verdict=Verdict.REGRESSION, reason=f"{candidate:.2f} MB exceeds {limit:g}")


def _parity(failed: Sequence[str]) -> Row:
    verdict = Verdict.REGRESSION if failed else Verdict.PASS
    return Row("parity with PyTorch", unit="", verdict=verdict, reason="; ".join(failed) or "within all limits")
