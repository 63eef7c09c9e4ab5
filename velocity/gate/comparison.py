"""A report on how two models differ: in accuracy, by utterance, in speed and in size. It gives no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from velocity.evaluation.speed import machine
from velocity.evaluation.templates import render
from velocity.evaluation.wer import NORMALIZER
from velocity.gate.facts import Facts, Hypotheses
from velocity.gate.statistics import Difference

LISTED = 20  # utterances of each kind in the report; the JSON has all


def comparison(facts: Facts, hypotheses: Mapping[str, Hypotheses]) -> dict[str, Any]:
    """``reports/comparison.json``: the candidate is the second model, the champion the first. Rates are fractions."""
    return {
        "first": facts.champion,
        "second": facts.candidate,
        "machine": machine(),
        "normalizer": NORMALIZER,
        "test_sets": {name: _figures(wer) | changed(hypotheses[name]) for name, wer in facts.wer.items()},
        "speed": vars(facts.speed) if facts.speed else None,
        "sizes": {role: vars(facts.sizes[key]) for role, key in (("first", "champion"), ("second", "candidate"))},
    }


def _figures(wer: Difference) -> dict[str, Any]:
    return {
        "wer": {"first": round(wer.champion, 6), "second": round(wer.candidate, 6)},
        "difference": round(wer.difference, 6),
        "difference_ci95": [round(bound, 6) for bound in wer.interval],
        "p_value": round(wer.p_value, 6),
        "significant": wer.significant,
        "utterances": wer.utterances,
        "words": wer.words,
    }


def changed(hypotheses: Hypotheses) -> dict[str, list[dict[str, Any]]]:
    """The utterances with more errors in the second model, and those with fewer, largest change first."""
    errors = (scored.word_errors.tolist() for scored in hypotheses.scores())
    entries = [
        {"id": u.id, "reference": u.text, "first": before, "second": after, "errors": {"first": old, "second": new}}
        for u, before, after, old, new in zip(
            hypotheses.utterances, hypotheses.champion, hypotheses.candidate, *errors, strict=True
        )
    ]
    gain = lambda entry: entry["errors"]["first"] - entry["errors"]["second"]  # noqa: E731
    ordered = sorted(entries, key=lambda entry: (-abs(gain(entry)), entry["id"]))
    return {
        "worse": [entry for entry in ordered if gain(entry) < 0],
        "better": [entry for entry in ordered if gain(entry) > 0],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """``reports/comparison.md`` of what ``reports/comparison.json`` holds."""
    return render("comparison.md", result=result, listed=LISTED)
