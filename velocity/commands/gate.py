"""``velocity-asr gate`` and ``compare``: two models on the same speech, measured in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from velocity.commands.models import find_artefact
from velocity.config.gate import Gate
from velocity.config.reader import default_section, load_section
from velocity.errors import VelocityError
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.files import write_json, write_text
from velocity.gate import Facts, Judgement, judge, measure
from velocity.gate.comparison import comparison
from velocity.gate.comparison import markdown as comparison_report
from velocity.gate.facts import Hypotheses, Model, recognise
from velocity.project import PARAMS, PREPARED, test_manifests
from velocity.tracking.model import NAME


def limits(wer_tolerance: float | None = None, rtf_tolerance: float | None = None) -> Gate:
    """The section ``gate`` of params.yaml, the package's own outside a project, with the command line's changes."""
    chosen = load_section("gate", Gate) if PARAMS.is_file() else default_section("gate", Gate)
    changes = {"wer_tolerance": wer_tolerance, "rtf_tolerance": rtf_tolerance}
    try:
        return replace(chosen, **{name: value for name, value in changes.items() if value is not None})
    except ValueError as error:  # pydantic's message has several lines
        reason = str(error).splitlines()[-2].strip().removeprefix("Value error, ").partition(" [type=")[0]
        raise VelocityError(f"the gate's limits: {reason}") from error


def test_sets(names: Sequence[str] | None) -> dict[str, list[Utterance]]:
    """The named test sets, or all that this project has prepared. Raises VelocityError when there is none, and for
    two of the same name."""
    chosen = names or list(map(str, test_manifests()))
    if not chosen:
        raise VelocityError(f"{PREPARED}: no test set; name one with --test-set, or run `dvc repro prepare`")
    found: dict[str, list[Utterance]] = {}
    for name in chosen:
        title, utterances = load_test_set(name)
        if title in found:
            raise VelocityError(f"{name}: a second test set called {title}; rename its folder or file")
        found[title] = utterances
    return found


def model(name: str) -> Model:
    return Model(name, find_artefact(name, quantized=True))


def examine(
    candidate: str, champion: str | None, names: Sequence[str] | None, allowed: Gate
) -> tuple[Facts, dict[str, Hypotheses]]:
    """Measure ``candidate`` against ``champion``; without a champion, only size, memory and parity.

    Raises VelocityError for a model or a test set that does not exist or cannot be read.
    """
    ours, theirs = model(candidate), model(champion) if champion else None
    hypotheses = recognise(ours, theirs, test_sets(names)) if theirs else {}
    return measure(ours, theirs, hypotheses, allowed), hypotheses


def gate(candidate: str, champion: str | None, names: Sequence[str] | None, allowed: Gate) -> Judgement:
    """Judge whether ``candidate`` may replace ``champion``. Raises like ``examine``."""
    return judge(examine(candidate, champion, names, allowed)[0], allowed)


def compare(first: str, second: str, names: Sequence[str] | None, folder: Path) -> dict[str, Any]:
    """Write ``comparison.json`` and ``comparison.md`` to ``folder``; return the content of the former.

    If the second model comes from the registry, they are also attached to its run in MLflow. Raises like ``examine``.
    """
    result = comparison(*examine(second, first, names, limits()))
    paths = [folder / "comparison.json", folder / "comparison.md"]
    write_json(paths[0], result)
    write_text(paths[1], comparison_report(result))
    if version := re.fullmatch(f"models:/{NAME}(?:/(.+)|(@.+))", second):
        from velocity.registry import Registry, one_line_errors

        registry = Registry()
        with one_line_errors(registry.uri):
            registry.keep(version[1] or version[2], paths)
    return result
