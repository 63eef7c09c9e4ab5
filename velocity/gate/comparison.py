"""Two models side by side for people: where they differ, on which utterances, and what that costs. No verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from velocity.evaluation.report import rate, table
from velocity.evaluation.speed import machine
from velocity.evaluation.wer import NORMALIZER
from velocity.gate.facts import Facts, Heard
from velocity.gate.statistics import Difference

LISTED = 20  # utterances in the report that became worse, and as many that became better; all are in the JSON


def comparison(facts: Facts, heard: Mapping[str, Heard]) -> dict[str, Any]:
    """``reports/comparison.json``: the candidate is the second model, the champion the first. Rates are fractions."""
    return {
        "first": facts.champion,
        "second": facts.candidate,
        "machine": machine(),
        "normalizer": NORMALIZER,
        "test_sets": {name: _figures(told) | changed(heard[name]) for name, told in facts.wer.items()},
        "speed": vars(facts.speed) if facts.speed else None,
        "sizes": {role: vars(facts.sizes[key]) for role, key in (("first", "champion"), ("second", "candidate"))},
    }


def _figures(told: Difference) -> dict[str, Any]:
    return {
        "wer": {"first": round(told.champion, 6), "second": round(told.candidate, 6)},
        "difference": round(told.difference, 6),
        "difference_ci95": [round(bound, 6) for bound in told.interval],
        "p_value": round(told.p_value, 6),
        "significant": told.significant,
        "utterances": told.utterances,
        "words": told.words,
    }


def changed(heard: Heard) -> dict[str, list[dict[str, Any]]]:
    """The utterances with more errors in the second model, and those with fewer, the greatest change first."""
    first, second = (scored.word_errors for scored in heard.scores())
    entries = [
        {
            "id": utterance.id,
            "reference": utterance.text,
            "first": before,
            "second": after,
            "errors": {"first": int(first[index]), "second": int(second[index])},
        }
        for index, (utterance, before, after) in enumerate(
            zip(heard.utterances, heard.champion, heard.candidate, strict=True)
        )
    ]
    gain = lambda entry: entry["errors"]["first"] - entry["errors"]["second"]  # noqa: E731
    ordered = sorted(entries, key=lambda entry: (-abs(gain(entry)), entry["id"]))
    return {
        "worse": [entry for entry in ordered if gain(entry) < 0],
        "better": [entry for entry in ordered if gain(entry) > 0],
    }


def markdown(told: Mapping[str, Any]) -> str:
    """``reports/comparison.md`` of what ``reports/comparison.json`` holds."""
    sections = [
        "# Two models compared",
        f"First: `{told['first']}`. Second: `{told['second']}`.",
        "## Accuracy",
        table(
            ["test set", "WER, first", "WER, second", "difference (95 % interval)", "p", "better", "worse"],
            [_accuracy(name, figures) for name, figures in told["test_sets"].items()],
        ),
        "Differences are in points, by the paired bootstrap over utterances, in bold where the interval leaves 0 out; "
        f"better and worse count utterances. Normaliser: `{told['normalizer']}`.",
        "## Speed and size",
        cost(told),
        f"One thread on {told['machine']['cpu']}, processor time, features included, both models in turn.",
    ]
    for name, figures in told["test_sets"].items():
        for kind in ("worse", "better"):
            if figures[kind]:
                sections += [f"## Became {kind} on `{name}`", _utterances(figures[kind])]
    return "\n\n".join(sections) + "\n"


def _accuracy(name: str, figures: Mapping[str, Any]) -> list[str]:
    low, high = (100 * bound for bound in figures["difference_ci95"])
    shown = f"{100 * figures['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
    return [
        f"`{name}`",
        rate(figures["wer"]["first"]),
        rate(figures["wer"]["second"]),
        f"**{shown}**" if figures["significant"] else shown,
        f"{figures['p_value']:.2g}",
        str(len(figures["better"])),
        str(len(figures["worse"])),
    ]


def cost(told: Mapping[str, Any]) -> str:
    first, second = told["sizes"]["first"], told["sizes"]["second"]
    rows = [
        [title, *(f"{sizes[key] / 1e6:.2f} MB" for sizes in (first, second)), f"{second[key] / first[key]:.2f}"]
        for title, key in (("model.onnx", "model"), ("peak memory", "peak_rss"))
    ]
    speed = told["speed"]
    low, high = speed["interval"]
    figures = [f"{speed[key]:.4f}" for key in ("champion", "candidate")]
    rows.append(["real-time factor", *figures, f"{speed['ratio']:.2f} ({low:.2f} to {high:.2f})"])
    return table(["", "first", "second", "second ÷ first"], rows)


def _utterances(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [f"`{entry['id']}`", *(_cell(entry[key]) for key in ("reference", "first", "second")), _errors(entry["errors"])]
        for entry in entries[:LISTED]
    ]
    more = len(entries) - LISTED
    listed = table(["utterance", "said", "first heard", "second heard", "errors"], rows)
    return f"{listed}\n\nAnd {more:,} more." if more > 0 else listed


def _errors(errors: Mapping[str, int]) -> str:
    return f"{errors['first']} → {errors['second']}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or "(nothing)"
