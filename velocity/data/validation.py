"""The judgement over some corpora: what is refused, what is left out, and the summary of what was found."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.config.data import Severity, Validation
from velocity.data.checks import Check
from velocity.data.manifests import RECORDINGS, read_lines
from velocity.data.tables import Measurements
from velocity.errors import VelocityError

if TYPE_CHECKING:
    import pandas

SHOWN = 3  # of the utterances that fail a check
NAMED = 100_000  # findings whose files are looked up at a time


@dataclass(frozen=True)
class Outcome:
    """A check, what is done about it, and the rows of its table that fail it."""

    check: Check
    severity: Severity
    rows: np.ndarray  # int64, ascending


@dataclass(frozen=True)
class Finding:
    """An utterance that fails a check, or one place of it."""

    check: str
    severity: Severity
    id: str
    where: str  # file, with the number of the line where there is one
    value: float | None  # of the column that is out of its range

    def __str__(self) -> str:
        return (self.where or self.id) + ("" if self.value is None else f" ({self.value:.4g})")


def list_findings(
    measured: Measurements, outcomes: Iterable[Outcome], folders: Mapping[str, Path]
) -> Iterator[Finding]:
    """Every row that fails a check, in the order of the checks and of the manifests; ``folders`` are the manifests."""
    findings = chain.from_iterable(_unplaced(measured, outcome) for outcome in outcomes)
    while some := list(islice(findings, NAMED)):
        wanted = {recording for _, recording in some if recording is not None}
        places = _places(wanted, folders) if wanted else {}
        yield from (replace(f, where=places.get(recording, "")) if recording else f for f, recording in some)


def _unplaced(measured: Measurements, outcome: Outcome) -> Iterator[tuple[Finding, str | None]]:
    """Each with the id of the recording whose file it is about; a fault knows its place itself."""
    check, table = outcome.check, measured.tables[outcome.check.table]
    is_mark = table[check.column].dtype == np.int8  # the value of a mark says nothing
    for row in outcome.rows:
        identity, value = table["id"].iloc[row], None if is_mark else round(float(table[check.column].iloc[row]), 6)
        where, recording = "", identity
        if check.table == "faults":
            where, recording = table["where"].iloc[row], None
        elif check.table == "utterances":
            recording = (
                measured.audio["id"].iloc[table["recording"].iloc[row]] if table["recording"].iloc[row] >= 0 else None
            )
        yield Finding(check.name, outcome.severity, identity, where, value), recording


def _places(wanted: set[str], folders: Mapping[str, Path]) -> dict[str, str]:
    """Recording → its file. Paths take memory: they are read again for those alone that have to be named."""
    lines = (line for folder in folders.values() for line in read_lines(folder / RECORDINGS))
    return {line["id"]: line["sources"][0]["source"] for line in lines if line["id"] in wanted}


def examples(measured: Measurements, outcomes: Iterable[Outcome], folders: Mapping[str, Path]) -> list[Finding]:
    """The first few findings of each check."""
    return list(list_findings(measured, [replace(o, rows=o.rows[:SHOWN]) for o in outcomes], folders))


def summarise(
    measured: Measurements, outcomes: Sequence[Outcome], shown: Iterable[Finding]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Counts, hours and quantiles by corpus, and how many fail each check: plain JSON, a metric for DVC."""
    faulty = measured.faults.drop_duplicates("id").groupby("corpus").size()
    lost = _lost(measured, outcomes)
    lost_faults = _fault_ids(measured, [outcome for outcome in outcomes if outcome.severity == "drop"])
    corpora = {}
    for name, rows in measured.rows.items():
        audio, texts = measured.audio.iloc[rows["audio"]], measured.utterances.iloc[rows["utterances"]]
        whole = len(audio) + int(faulty.get(name, 0))
        dropped = int(lost[rows["audio"]].sum()) + sum(identity.startswith(f"{name}/") for identity in lost_faults)
        corpora[name] = {
            "recordings": len(audio),
            "utterances": len(texts),
            "faulty": int(faulty.get(name, 0)),
            "dropped": dropped,
            "dropped_share": round(dropped / max(1, whole), 6),
            "hours": round(float(audio["seconds"].sum()) / 3600, 4),
            "rates": _counts(audio["rate"]),
            "channels": _counts(audio["channels"]),
            **{column: _quantiles(audio[column]) for column in ("seconds", "level_db", "clipped", "dc_offset")},
        }
        if len(texts):
            corpora[name]["characters_per_second"] = _quantiles(texts["characters_per_second"])
    whole = {"audio": len(measured.audio), "utterances": len(measured.utterances), "faults": 0}
    whole["faults"] = whole["audio"] + int(faulty.sum())
    ids: dict[str, list[str]] = {}
    for finding in shown:
        ids.setdefault(finding.check, []).append(finding.id)
    checks: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        name, table = outcome.check.name, outcome.check.table
        failed = len(_fault_ids(measured, [outcome])) if table == "faults" else len(outcome.rows)
        if name in checks:  # looked for in two tables
            failed, table = failed + checks[name]["failed"], "faults"
        kept = list(dict.fromkeys(ids.get(name, [])))[:SHOWN]
        checks[name] = {"severity": outcome.severity, "failed": failed, "of": whole[table], "examples": kept}
    return {"corpora": corpora, "checks": checks}


def _lost(measured: Measurements, outcomes: Iterable[Outcome]) -> np.ndarray:
    """(recordings,) bool: dropped, or with a transcript that is."""
    lost = np.zeros(len(measured.audio), bool)
    for outcome in outcomes:
        if outcome.severity == "drop" and outcome.check.table == "audio":
            lost[outcome.rows] = True
        elif outcome.severity == "drop" and outcome.check.table == "utterances":
            recordings = measured.utterances["recording"].to_numpy()[outcome.rows]
            lost[recordings[recordings >= 0]] = True
    return lost


def _fault_ids(measured: Measurements, outcomes: Iterable[Outcome]) -> set[str]:
    return {
        identity
        for outcome in outcomes
        if outcome.check.table == "faults"
        for identity in measured.faults["id"].iloc[outcome.rows]
    }


def refuse(
    summary: Mapping[str, Mapping[str, dict[str, Any]]], shown: Sequence[Finding], limits: Validation, listing: Path
) -> None:
    """Say what is dropped and what is worth knowing; raise VelocityError when a check, or all together, refuse."""
    found = {name: figures for name, figures in summary["checks"].items() if figures["failed"]}

    def told(name: str) -> str:
        some = [str(finding) for finding in shown if finding.check == name]
        more = ", …" if found[name]["failed"] > len(some[:SHOWN]) else ""
        return f"{name}: {found[name]['failed']} of {found[name]['of']}: {', '.join(some[:SHOWN])}{more}"

    if refused := [name for name, figures in found.items() if figures["severity"] == "refuse"]:
        others = f" (also refused: {', '.join(refused[1:])})" if len(refused) > 1 else ""
        raise VelocityError(f"{told(refused[0])}{others}; all findings are in {listing}")
    for name, corpus in summary["corpora"].items():
        if corpus["dropped_share"] > limits.max_dropped:
            why = ", ".join(f"{check} {f['failed']}" for check, f in found.items() if f["severity"] == "drop")
            raise VelocityError(
                f"corpus {name}: {corpus['dropped']} utterances would be dropped, more than validate.max_dropped = "
                f"{limits.max_dropped:g} of it (in all corpora: {why}); all findings are in {listing}"
            )
    for name, figures in found.items():
        done = {"drop": "dropped", "warn": "warning"}[figures["severity"]]
        print(f"validate: {done}: {told(name)}", file=sys.stderr)


def exclusions(measured: Measurements, outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """``{"id", "reasons"}`` by id, for all that is dropped of the manifests; a recording takes its utterances along."""
    reasons: dict[str, set[str]] = {}
    for outcome in outcomes:
        if outcome.severity == "drop" and outcome.check.table != "faults":
            taken = measured.tables[outcome.check.table]["id"].iloc[outcome.rows].tolist()
            if outcome.check.table == "audio":
                spoken = measured.utterances["recording"].isin(outcome.rows)
                taken += measured.utterances["id"][spoken].tolist()
            for identity in taken:
                reasons.setdefault(identity, set()).add(outcome.check.name)
    return [{"id": identity, "reasons": sorted(why)} for identity, why in sorted(reasons.items())]


def _counts(values: pandas.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items()}


def _quantiles(values: pandas.Series) -> dict[str, float]:
    if not values.notna().any():
        return {}
    shares = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(float(values.quantile(share)), 4) + 0.0 for name, share in shares.items()}  # + 0.0: no "-0.0"
