"""The ablation report: the error rate of each changed recogniser against the baseline's on the same utterances.

The interval of a difference is the paired bootstrap over utterances (Bisani and Ney, ICASSP 2004): both recognisers
are scored on the same draws, so that what makes an utterance hard for both cancels out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from velocity import project
from velocity.config import Params
from velocity.errors import VelocityError
from velocity.evaluation.side_by_side import side_by_side
from velocity.evaluation.speed import machine
from velocity.evaluation.templates import render
from velocity.evaluation.testset import load_test_set
from velocity.evaluation.wer import bootstrap
from velocity.files import atomic_path, write_json, write_text

FLOAT, INT8 = "onnx", "onnx-int8"
TRAINED_BY = ("pretrain", "finetune")


@dataclass(frozen=True)
class Counts:
    """Word errors and words of each utterance of a test set, by its id."""

    errors: Mapping[str, int]
    words: Mapping[str, int]

    @property
    def wer(self) -> float:
        return sum(self.errors.values()) / sum(self.words.values())

    def arrays(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(len(ids),) errors and words, both int64."""
        return np.array([self.errors[name] for name in ids]), np.array([self.words[name] for name in ids])


@dataclass(frozen=True)
class RowResult:
    """The figures of one row, from the files of the project in ``folder``."""

    folder: Path
    parameters: int
    audio_hours: float  # seen in training
    counts: Mapping[str, Mapping[str, Counts]]  # test set → artefact → counts

    @property
    def artefact(self) -> Path:
        return self.folder / project.EXPORTED / INT8

    @classmethod
    def load(cls, folder: Path, pretrained: bool) -> RowResult:
        """Raises VelocityError naming a file that is missing or of another run than the rest."""
        metrics = _read(folder / project.METRICS)
        counts: dict[str, dict[str, Counts]] = {}
        for manifest in project.test_manifests(folder):
            test_set, utterances = load_test_set(str(manifest))
            words = {utterance.id: len(utterance.text.split()) for utterance in utterances}
            for artefact in (FLOAT, INT8):
                path = folder / project.ERROR_REPORTS / f"{test_set}-{artefact}.json"
                wrong = {entry["id"]: entry["errors"] for entry in _read(path)["errors"]}
                counted = Counts({name: wrong.get(name, 0) for name in words}, words)
                if round(counted.wer, 6) != metrics["test_sets"][test_set][artefact]["wer"]:
                    raise VelocityError(f"{path}: belongs to another run than {folder / project.METRICS}")
                counts.setdefault(test_set, {})[artefact] = counted
        stages = TRAINED_BY if pretrained else TRAINED_BY[1:]
        hours = sum(_read(folder / project.REPORTS / f"{stage}.json")["audio_hours"] for stage in stages)
        return cls(folder, metrics["params"], round(hours, 4), counts)


@dataclass(frozen=True)
class Table:
    """The rows that were run, by name, in the order in which they are shown."""

    titles: Mapping[str, str]
    experiments: Mapping[str, str]
    measured: Mapping[str, RowResult]
    baseline: str
    command: str
    commit: str
    failed: Mapping[str, str] = field(default_factory=dict)  # row → reason


def write_report(table: Table, params: Params, folder: Path) -> dict[str, Any]:
    """Write ``ablation.json``, ``ablation.md`` and ``ablation.png`` to ``folder``; return what the first one holds.

    The speed of the INT8 artefacts is measured on the way. Raises VelocityError when no row was measured.
    """
    results = {
        "baseline": table.baseline,
        "command": table.command,
        "commit": table.commit,
        "corpora": {name: corpus.kind for name, corpus in params.corpora.items()},
        "machine": machine(),
        "rows": _rows(table, params),
    }
    draw(results, folder / "ablation.png")
    write_json(folder / "ablation.json", results)
    write_text(folder / "ablation.md", markdown(results))
    return results


def _rows(table: Table, params: Params) -> list[dict[str, Any]]:
    measured = table.measured
    beside = table.baseline if table.baseline in measured else next(iter(measured))
    speed = side_by_side({name: row.artefact for name, row in measured.items()}, beside)
    rows = []
    for name, title in table.titles.items():
        entry: dict[str, Any] = {"name": name, "title": title, "experiment": table.experiments[name]}
        rows.append(entry)
        if name in table.failed:
            entry["failed"] = table.failed[name]
            continue
        row, other = measured[name], measured.get(table.baseline) if name != table.baseline else None
        size = (row.artefact / "model.onnx").stat().st_size
        entry |= {"parameters": row.parameters, "audio_hours": row.audio_hours, "bytes": size}
        entry |= speed[name] if table.baseline in measured else {"rtf": speed[name]["rtf"]}
        entry["test_sets"] = figures(row, other, params.evaluate.bootstrap, params.seed)
    return rows


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VelocityError(f"{path}: cannot be read as JSON; run the row again") from error


def figures(row: RowResult, baseline: RowResult | None, resamples: int, seed: int) -> dict[str, Any]:
    """{test set: {artefact: {"wer", "wer_ci95", "utterances"} and, against ``baseline``, "difference" …}}."""
    return {
        test_set: {
            artefact: _rates(counts, baseline and baseline.counts[test_set][artefact], resamples, seed)
            for artefact, counts in artefacts.items()
        }
        for test_set, artefacts in row.counts.items()
    }


def _rates(own: Counts, other: Counts | None, resamples: int, seed: int) -> dict[str, Any]:
    interval = bootstrap(*own.arrays(list(own.words)), resamples, seed)
    rates = {"wer": round(own.wer, 6), "wer_ci95": _rounded(interval), "utterances": len(own.words)}
    if other is None:
        return rates
    ids = [name for name in own.words if own.words[name] == other.words.get(name)]
    (errors, words), (others, _) = own.arrays(ids), other.arrays(ids)
    low, high = bootstrap(errors - others, words, resamples, seed)  # one draw of utterances for both
    return rates | {
        "difference": round(float((errors - others).sum() / words.sum()), 6),
        "difference_ci95": _rounded((low, high)),
        "significant": not low <= 0.0 <= high,
        "paired_utterances": len(ids),
    }


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(bound, 6) for bound in interval]


def markdown(results: Mapping[str, Any]) -> str:
    """``reports/ablation.md`` of what ``reports/ablation.json`` holds."""
    test_sets = sorted({name for row in results["rows"] for name in row.get("test_sets", ())})
    return render("ablation.md", results=results, test_sets=test_sets, artefacts=(FLOAT, INT8))


def draw(results: Mapping[str, Any], path: Path) -> None:
    """The word error rate of each row with its interval, FP32 and INT8; the larger the point, the larger the file."""
    from matplotlib.figure import Figure

    done = [row for row in results["rows"] if "test_sets" in row]
    test_sets = sorted({name for row in done for name in row["test_sets"]})
    figure = Figure((4.0 + 4.5 * len(test_sets), 1.2 + 0.42 * len(done)), layout="constrained")
    largest = max(row["bytes"] for row in done)
    for axes, test_set in zip(figure.subplots(1, len(test_sets), squeeze=False)[0], test_sets, strict=True):
        for artefact, label, colour, offset in ((FLOAT, "FP32", "#4c78a8", -0.14), (INT8, "INT8", "#f58518", 0.14)):
            figures = [row["test_sets"][test_set][artefact] for row in done]
            rates = [100 * entry["wer"] for entry in figures]
            places = [index + offset for index in range(len(done))]
            lines = [[100 * bound for bound in entry["wer_ci95"]] for entry in figures]
            axes.hlines(places, *zip(*lines, strict=True), color=colour, linewidth=1.2)
            sizes = [20 + 120 * row["bytes"] / largest for row in done]
            axes.scatter(rates, places, s=sizes, color=colour, label=label, zorder=3)
            for row, value in zip(done, rates, strict=True):
                if row["name"] == results["baseline"]:
                    axes.axvline(value, color=colour, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(done)), [row["name"] for row in done])
        axes.invert_yaxis()
        axes.set_title(test_set, fontsize=9)
        axes.set_xlabel("word error rate, %; points by the size of the INT8 file")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
