"""Stage ``validate``: refuse speech that would spoil a training, leave single utterances out, compare with before."""

from __future__ import annotations

from dataclasses import asdict

from velocity.config import load_params
from velocity.data.checks import add_comparisons, checks
from velocity.data.drift import compare, describe, distributions, load_accepted, refuse_drift, show
from velocity.data.expectations import judge
from velocity.data.tables import measure_corpora
from velocity.data.validation import Outcome, examples, exclusions, list_findings, refuse, summarise
from velocity.files import write_json, write_json_lines
from velocity.project import (
    ACCEPTED,
    DATA_DOCS,
    DISTRIBUTIONS,
    EXCLUSIONS,
    FINDINGS,
    MANIFESTS,
    VALIDATION_SUMMARY,
)
from velocity.stages import run


def main() -> None:
    params = load_params()
    for accepted in (EXCLUSIONS, DISTRIBUTIONS, VALIDATION_SUMMARY):
        accepted.unlink(missing_ok=True)  # they stand for accepted speech: a refusal must not leave the last ones
    folders = {name: MANIFESTS / name for name in sorted(params.corpora)}
    looked_for = checks(params)
    measured = measure_corpora(folders, params.threads)
    add_comparisons(measured, params)
    failed = judge(measured.tables, looked_for, DATA_DOCS)
    outcomes = [Outcome(check, check.severity, rows) for check, rows in zip(looked_for, failed, strict=True)]
    write_json_lines(FINDINGS, map(asdict, list_findings(measured, outcomes, folders)))
    changes = compare(measured, load_accepted(ACCEPTED), params.validate.drift)
    show(changes)
    shown = examples(measured, outcomes, folders)
    summary = summarise(measured, outcomes, shown)
    refuse(summary, shown, params.validate, FINDINGS)
    refuse_drift(changes, params.validate.drift)

    write_json_lines(EXCLUSIONS, exclusions(measured, outcomes))
    write_json(DISTRIBUTIONS, distributions(measured))
    write_json(VALIDATION_SUMMARY, {**summary, "drift": describe(changes)})


if __name__ == "__main__":
    run(main)
