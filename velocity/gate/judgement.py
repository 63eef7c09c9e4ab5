"""The verdict on measured facts: nothing is measured here, the same facts and limits always give the same verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """One metric. Rates of errors and their differences are in per cent and points, ``interval`` is of 95 %."""

    metric: str
    unit: str  # "%", "×", "MB" or "": the difference of a metric in × is the ratio to the champion's
    champion: float | None
    candidate: float | None
    difference: float | None
    interval: tuple[float, float] | None
    limit: float | None
    verdict: Verdict
    reason: str


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
        """A pass with fewer errors on some test set than chance gives, or with no champion to be better than."""
        fewer = any(row.unit == "%" and row.interval[1] < 0 for row in self.rows)
        return self.verdict is Verdict.PASS and (self.champion is None or fewer)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"reasons": self.reasons, "better": self.better}


def judge(facts: Facts, limits: Gate) -> Judgement:
    """A regression in one metric is a regression; without one, a metric that is unclear leaves all unclear."""
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


def _wer(test_set: str, told: Difference, limits: Gate) -> Row:
    """A test of superiority and one of non-inferiority, over the paired bootstrap of the difference.

    - Regression: worse by more than ``wer_tolerance`` points, and the 95 % interval leaves 0 out. Of candidates that
      are worth the same as the champion, at most 1 in 40 or so is refused on a test set.
    - Pass: a regression of ``wer_detectable`` points is ruled out (``Difference.at_most``, 97.5 %). Of candidates that
      are worse by so much, at most 1 in 40 or so passes.
    - Could not judge: neither. The test set is too small, or the models too different, to tell.
    """
    points, (low, high) = 100 * told.difference, (100 * bound for bound in told.interval)
    if points > limits.wer_tolerance and low > 0:
        verdict = Verdict.REGRESSION
        reason = f"worse by {points:.2f} points, more than {limits.wer_tolerance:g} and than chance gives"
        reason += f" (p = {told.p_value:.2g})"
    elif 100 * told.at_most < limits.wer_detectable:
        verdict = Verdict.PASS
        reason = f"{limits.wer_detectable:g} points more are ruled out: {100 * told.at_most:+.2f} at most"
    else:
        verdict = Verdict.UNCLEAR
        reason = f"{told.utterances:,} utterances are too few to rule out {limits.wer_detectable:g} points more: "
        reason += f"{100 * told.at_most:+.2f} are possible"
    return Row(
        metric=f"WER on {test_set}",
        unit="%",
        champion=100 * told.champion,
        candidate=100 * told.candidate,
        difference=points,
        interval=(low, high),
        limit=limits.wer_tolerance,
        verdict=verdict,
        reason=reason,
    )


def _speed(told: Ratio, limits: Gate) -> Row:
    """Slower if the whole interval of the ratio is above the limit, not slower if it is below, else unclear."""
    low, high = told.interval
    if low > limits.rtf_tolerance:
        verdict, reason = Verdict.REGRESSION, f"takes {told.ratio:.2f} times as long as the champion"
    elif high <= limits.rtf_tolerance:
        verdict, reason = Verdict.PASS, f"takes at most {high:.2f} times as long"
    else:
        verdict = Verdict.UNCLEAR
        reason = f"between {low:.2f} and {high:.2f} times as long: measure again, in more rounds"
    return Row(
        metric="real-time factor, 1 thread",
        unit="×",
        champion=told.champion,
        candidate=told.candidate,
        difference=told.ratio,
        interval=told.interval,
        limit=limits.rtf_tolerance,
        verdict=verdict,
        reason=reason,
    )


def _size(metric: str, candidate: float, champion: float | None, limit: float) -> Row:
    fits = candidate <= limit
    return Row(
        metric=metric,
        unit="MB",
        champion=champion,
        candidate=candidate,
        difference=None if champion is None else candidate - champion,
        interval=None,
        limit=limit,
        verdict=Verdict.PASS if fits else Verdict.REGRESSION,
        reason="within the limit" if fits else f"{candidate:.2f} MB, {limit:g} at most",
    )


def _parity(failed: Sequence[str]) -> Row:
    return Row(
        metric="parity with PyTorch",
        unit="",
        champion=None,
        candidate=None,
        difference=None,
        interval=None,
        limit=None,
        verdict=Verdict.REGRESSION if failed else Verdict.PASS,
        reason="; ".join(failed) or "every bar is reached",
    )
