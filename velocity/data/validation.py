"""The judgement over some corpora: what is refused, what is left out, and the summary of what was found."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.config import SEVERITIES, Severity, Validation
from velocity.data.checks import Check
from velocity.data.manifests import RECORDINGS, read_lines
from velocity.data.tables import Measurements
from velocity.errors import VelocityError

if TYPE_CHECKING:
    import pandas

SHOWN = 3  # of the utterances that fail a check


@dataclass(frozen=True)
class Finding:
    """An utterance that fails a check, or one place of it."""

    check: str
    severity: Severity
    corpus: str
    id: str
    where: str  # file, with the number of the line where there is one
    value: float | None  # of the column that is out of its range

    def __str__(self) -> str:
        return (self.where or self.id) + ("" if self.value is None else f" ({self.value:.4g})")


def find(
    measured: Measurements,
    checks: Iterable[Check],
    failed: Iterable[np.ndarray],
    limits: Validation,
    folders: Mapping[str, Path],
) -> list[Finding]:
    """The rows that ``failed`` each check, named, in the order of the checks and of the manifests."""
    pairs = [(check, rows) for check, rows in zip(checks, failed, strict=True) if len(rows)]
    places = _places({i for check, rows in pairs for i in _recordings(measured, check, rows)}, folders)
    findings = []
    for check, rows in pairs:
        table, severity = measured.tables[check.table].iloc[rows], limits.severity_of(check.name)
        wheres = table["where"] if check.table == "faults" else map(places.get, _recordings(measured, check, rows))
        marks = table[check.column].dtype == np.int8  # a flag's value says nothing
        for identity, value, where in zip(table["id"], table[check.column], wheres, strict=True):
            corpus = identity.partition("/")[0]
            shown = None if marks else round(float(value), 6)
            findings.append(Finding(check.name, severity, corpus, identity, where or "", shown))
    return findings


def _recordings(measured: Measurements, check: Check, rows: np.ndarray) -> list[str | None]:
    """The ids of the recordings that some rows are about."""
    if check.table == "faults":
        return []
    if check.table == "audio":
        return measured.audio["id"].iloc[rows].tolist()
    recordings = measured.utterances["recording"].to_numpy()[rows]
    ids = measured.audio["id"].iloc[np.maximum(recordings, 0)]
    return [identity if row >= 0 else None for identity, row in zip(ids, recordings, strict=True)]


def _places(wanted: set[str | None], folders: Mapping[str, Path]) -> dict[str | None, str]:
    """The files of recordings: paths are looked up for those alone that have to be named."""
    if not wanted:
        return {}
    lines = (line for folder in folders.values() for line in read_lines(folder / RECORDINGS))
    return {line["id"]: line["sources"][0]["source"] for line in lines if line["id"] in wanted}


def exclusions(findings: Iterable[Finding], measured: Measurements) -> list[dict[str, Any]]:
    """``{"id", "reasons"}`` by id, for every utterance that a check drops; a recording takes its utterances along."""
    reasons: dict[str, list[str]] = defaultdict(list)
    faulty = set(measured.faults["id"])  # never were in the manifests
    for finding in findings:
        if finding.severity == "drop" and finding.id not in faulty and finding.check not in reasons[finding.id]:
            reasons[finding.id].append(finding.check)
    dropped = {identity: why for identity, why in reasons.items() if why}
    recordings = np.flatnonzero(measured.audio["id"].isin(list(dropped)).to_numpy())
    taken = measured.utterances[measured.utterances["recording"].isin(recordings)]
    for identity, row in zip(taken["id"], taken["recording"], strict=True):
        recording = measured.audio["id"].iloc[row]
        if recording != identity:
            dropped[identity] = sorted({*dropped[recording], *dropped.get(identity, [])})
    return [{"id": identity, "reasons": sorted(dropped[identity])} for identity in sorted(dropped)]


def refuse(findings: list[Finding], summary: Mapping[str, Any], limits: Validation, listing: Path) -> None:
    """Say what is dropped and what is worth knowing; raise VelocityError when a check, or all together, refuse."""
    by_check = {check: [finding for finding in findings if finding.check == check] for check in SEVERITIES}
    refused = {check: found for check, found in by_check.items() if found and found[0].severity == "refuse"}
    if refused:
        check, found = next(iter(refused.items()))
        others = f" (also refused: {', '.join(list(refused)[1:])})" if len(refused) > 1 else ""
        raise VelocityError(f"{_told(check, found, summary)}{others}; all findings are in {listing}")
    for name, corpus in summary["corpora"].items():
        if corpus["dropped_share"] > limits.max_dropped:
            counts = {
                check: sum(f.corpus == name and f.severity == "drop" for f in by_check[check]) for check in by_check
            }
            most = ", ".join(f"{check} {count}" for check, count in counts.items() if count)
            raise VelocityError(
                f"corpus {name}: {corpus['dropped']} utterances would be dropped, more than validate.max_dropped = "
                f"{limits.max_dropped:g} of it ({most}); all findings are in {listing}"
            )
    for check, found in by_check.items():
        if found:
            done = "dropped" if found[0].severity == "drop" else "warning"
            print(f"validate: {done}: {_told(check, found, summary)}", file=sys.stderr)


def _told(check: str, found: list[Finding], summary: Mapping[str, Any]) -> str:
    figures = summary["checks"][check]
    shown = ", ".join(map(str, found[:SHOWN])) + (", …" if len(found) > SHOWN else "")
    return f"{check}: {figures['failed']} of {figures['of']}: {shown}"


def summarise(
    measured: Measurements, checks: Iterable[Check], findings: Iterable[Finding], limits: Validation
) -> dict[str, Any]:
    """Counts, hours and quantiles by corpus, and how many fail each check: plain JSON, a metric for DVC."""
    failed: dict[str, dict[str, None]] = {check: {} for check in SEVERITIES}
    lost: dict[str, set[str]] = {name: set() for name in measured.rows}
    for finding in findings:
        failed[finding.check][finding.id] = None
        if finding.severity == "drop":
            lost[finding.corpus].add(finding.id)
    corpora = {}
    for name, rows in measured.rows.items():
        audio, texts = (measured.audio.iloc[rows["audio"]], measured.utterances.iloc[rows["utterances"]])
        faulty = measured.faults["id"][measured.faults["corpus"] == name].nunique()
        corpora[name] = {
            "recordings": len(audio),
            "utterances": len(texts),
            "faulty": faulty,
            "dropped": len(lost[name]),
            "dropped_share": round(len(lost[name]) / max(1, len(audio) + faulty), 6),
            "hours": round(float(audio["seconds"].sum()) / 3600, 4),
            "rates": _counts(audio["rate"]),
            "channels": _counts(audio["channels"]),
            **{column: _quantiles(audio[column]) for column in ("seconds", "level_db", "clipped", "dc_offset")},
        }
        if len(texts):
            corpora[name]["characters_per_second"] = _quantiles(texts["characters_per_second"])
    total = {"audio": len(measured.audio), "utterances": len(measured.utterances), "faults": 0}
    judged: dict[str, dict[str, Any]] = {}
    for check in checks:
        ids, of = list(failed[check.name]), total[check.table] or len(measured.audio) + measured.faults["id"].nunique()
        figures = {"severity": limits.severity_of(check.name), "failed": len(ids), "of": of, "examples": ids[:SHOWN]}
        judged.setdefault(check.name, figures)
    return {"corpora": corpora, "checks": judged}


def _counts(values: pandas.Series) -> dict[str, int]:
    return {str(value): int(count) for value, count in values.value_counts().sort_index().items()}


def _quantiles(values: pandas.Series) -> dict[str, float]:
    shares = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    if not values.notna().any():
        return {}
    return {name: round(float(values.quantile(share)), 4) for name, share in shares.items()}
