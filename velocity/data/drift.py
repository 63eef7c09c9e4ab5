"""How far a delivery is from the version of the data that was accepted last.

Numbers: the population stability index over deciles of the accepted version (Siddiqi 2006, Credit Risk Scorecards).
Words: the Jensen–Shannon divergence of their frequencies (Lin 1991, IEEE Trans. Information Theory 37). Both are about
χ²-distributed when nothing has changed (Yurdakul & Naranjo 2020, J. Risk Model Validation 14), which says how much of
them is chance in a small corpus. New words: their share beyond the one that Good (1953, Biometrika 40) expects of the
same speech, which is the share of words that occur once. Speakers: the share of new ones among those with the lowest
hashes, a sample that is the same whoever draws it (bottom-k sketch: Cohen & Kaplan 2007, PODC).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.config.data import Drift
from velocity.errors import VelocityError

if TYPE_CHECKING:
    import pandas

    from velocity.data.tables import Measurements

NUMBERS = {"seconds": "audio", "level_db": "audio", "characters_per_second": "utterances"}  # column → table
BINS = 10
FREQUENT = 1000  # words kept
COMMON = 5  # times: rarer words are counted together (Cochran 1954), else there is no χ² distribution
DEVIATIONS = 3  # of the share of new words, that are chance
SPEAKERS = 1000  # hashes kept
CHANCE = 0.999  # of the distribution of an index when nothing has changed: what is below it is no drift


@dataclass(frozen=True)
class Change:
    """One figure of a corpus against its accepted version; it has drifted when it is above ``limit``."""

    corpus: str
    what: str
    value: float
    limit: float

    @property
    def drifted(self) -> bool:
        return self.value > self.limit


def distributions(measured: Measurements) -> dict[str, Any]:
    """Corpus → what a later delivery is compared with: plain JSON of at most some 40 kB a corpus."""
    result = {}
    for name, rows in measured.rows.items():
        numbers = {column: _histogram(values) for column, values in _numbers(measured, name).items() if len(values)}
        words, speakers = measured.words[name], sorted(map(_hash, _speakers(measured, name)))
        frequent = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:FREQUENT]
        result[name] = {
            "recordings": rows["audio"].stop - rows["audio"].start,
            **numbers,
            "rate": _rates(measured, name),
            "words": {"total": words.total(), "frequent": dict(frequent)},
            "speakers": {"total": len(speakers), "hashes": speakers[:SPEAKERS]},
        }
    return result


def load_accepted(path: str | Path) -> dict[str, Any]:
    """What ``velocity-asr accept`` wrote; ``{}`` before anything is accepted. Raises VelocityError naming the file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VelocityError(
            f"{path}: cannot be read; restore it from git, or write {{}} if no data has been accepted yet"
        ) from error


def compare(measured: Measurements, accepted: Mapping[str, Any], limits: Drift) -> list[Change]:
    """Every figure of the corpora that an accepted version has, ``{}`` being none."""
    changes = []
    for name in measured.rows:
        old = accepted.get(name)
        if old is None:
            continue
        for column, values in _numbers(measured, name).items():
            if column in old and len(values):
                counts = _counts(values, old[column]["edges"])
                changes.append(_index(name, column, old[column]["counts"], counts, limits.max_psi))
        rates = _rates(measured, name)
        kinds = sorted(old["rate"].keys() | rates.keys())
        before, after = ([counts.get(kind, 0) for kind in kinds] for counts in (old["rate"], rates))
        changes.append(_index(name, "rate", before, after, limits.max_psi))
        changes += _vocabulary(name, old["words"], measured.words[name], limits)
        if old["speakers"]["total"] and (speakers := _speakers(measured, name)):
            share = new_speakers(old["speakers"], map(_hash, speakers))
            changes.append(Change(name, "new_speakers", share, limits.max_new_speakers))
    return changes


def describe(changes: Iterable[Change]) -> dict[str, dict[str, float]]:
    """Corpus → figure → value, for the metrics."""
    figures: dict[str, dict[str, float]] = {}
    for change in changes:
        figures.setdefault(change.corpus, {})[change.what] = round(change.value, 5)
        figures[change.corpus]["drifted"] = figures[change.corpus].get("drifted", 0) + change.drifted
    return figures


def show(changes: Sequence[Change]) -> None:
    """A table on stderr: rows are corpora and figures, with their limits."""
    from rich.console import Console
    from rich.table import Table

    table = Table("corpus", "figure", "change", "limit", "", title="Drift against the accepted version")
    for change in changes:
        verdict = "drifted" if change.drifted else ""
        table.add_row(change.corpus, change.what, f"{change.value:.4f}", f"{change.limit:.4f}", verdict)
    if changes:
        Console(stderr=True).print(table)


def refuse_drift(changes: Iterable[Change], limits: Drift) -> None:
    """Raise VelocityError, naming every figure that has drifted, when ``limits`` say that this refuses."""
    drifted = [f"{c.corpus} {c.what} {c.value:.4g} (limit {c.limit:.4g})" for c in changes if c.drifted]
    if drifted and limits.severity == "refuse":
        advice = "if it is meant so, let it pass with validate.drift.severity: warn and run `velocity-asr accept`"
        raise VelocityError(f"drift from the accepted version: {', '.join(drifted)}; {advice}")


def psi(expected: Iterable[int], found: Iterable[int]) -> float:
    """Population stability index, Σ (q − p)·ln(q / p), of two histograms; half a count goes to every bin."""
    p, q = (np.asarray(list(counts), np.float64) + 0.5 for counts in (expected, found))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def new_speakers(accepted: Mapping[str, Any], hashes: Iterable[str]) -> float:
    """The share of speakers that the accepted version does not have, of those whose hashes it would have kept."""
    known = set(accepted["hashes"])
    whole = accepted["total"] == len(known)
    comparable = {value for value in hashes if whole or value <= max(known)}
    return len(comparable - known) / len(comparable) if comparable else 0.0


def _index(corpus: str, what: str, before: list[int], after: list[int], limit: float) -> Change:
    return Change(corpus, what, psi(before, after), max(limit, _chance(len(before), sum(before), sum(after))))


def _vocabulary(corpus: str, old: Mapping[str, Any], words: Mapping[str, int], limits: Drift) -> list[Change]:
    from scipy.spatial.distance import jensenshannon

    total, known = sum(words.values()), old["frequent"]
    if not total or not old["total"]:
        return []
    common = [word for word, count in known.items() if count >= COMMON]
    before, after = [known[word] for word in common], [words.get(word, 0) for word in common]
    before, after = [*before, old["total"] - sum(before)], [*after, total - sum(after)]
    divergence = float(jensenshannon(before, after, base=2)) ** 2  # SciPy gives the root
    chance = _chance(len(before), old["total"], total) / (8 * log(2))
    unseen = 1 - sum(known.values()) / old["total"] + sum(count == 1 for count in known.values()) / old["total"]
    new = 1 - sum(words.get(word, 0) for word in known) / total
    spread = sqrt(unseen * (1 - unseen) * (1 / old["total"] + 1 / total))
    return [
        Change(corpus, "vocabulary", divergence, max(limits.max_vocabulary_divergence, chance)),
        Change(corpus, "new_words", max(0.0, new - unseen), limits.max_new_words + DEVIATIONS * spread),
    ]


def _chance(bins: int, before: int, after: int) -> float:
    """What the index of two samples of one distribution exceeds in one case of a thousand."""
    from scipy.stats import chi2

    return float(chi2.ppf(CHANCE, bins - 1)) * (1 / before + 1 / after) if bins > 1 else 0.0


def _numbers(measured: Measurements, corpus: str) -> dict[str, pandas.Series]:
    tables = {"audio": measured.audio, "utterances": measured.utterances}
    return {
        column: tables[table][column].iloc[measured.rows[corpus][table]].dropna() for column, table in NUMBERS.items()
    }


def _histogram(values: pandas.Series) -> dict[str, list[float] | list[int]]:
    """Counts between the deciles; edges that fall together are one."""
    edges = sorted({round(float(edge), 4) for edge in values.quantile(np.arange(1, BINS) / BINS)})
    return {"edges": edges, "counts": _counts(values, edges)}


def _counts(values: pandas.Series, edges: list[float]) -> list[int]:
    return np.bincount(np.searchsorted(edges, values.to_numpy()), minlength=len(edges) + 1).tolist()


def _rates(measured: Measurements, corpus: str) -> dict[str, int]:
    rates = measured.audio["rate"].iloc[measured.rows[corpus]["audio"]]
    return {str(rate): int(count) for rate, count in rates.value_counts().sort_index().items()}


def _speakers(measured: Measurements, corpus: str) -> set[str]:
    return {speaker for name, speaker, _ in measured.voices if name == corpus}


def _hash(speaker: str) -> str:
    """Names stay out of what is committed."""
    return sha256(speaker.encode()).hexdigest()[:12]
