"""The report and the model card, from the figures that the stages wrote; nothing is computed anew."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from velocity import project
from velocity.config import Params, load_params
from velocity.config.corpora import Corpus
from velocity.errors import VelocityError
from velocity.evaluation.markdown import rate
from velocity.evaluation.templates import render

MODEL = "VELOCITY-ASR v2"
STAGES = {
    "pretrain": "Pretraining",
    "finetune": "CTC fine-tuning with INT8 quantisation-aware training",
}
SHIPPED = "onnx-int8"  # the artefact that figures are quoted for when only one is
ACTIONS = {"drop": "left out", "warn": "reported only"}  # of ``validate``, by the severity of a check


@dataclass(frozen=True)
class Results:
    """Everything the report is made of."""

    params: Params
    data: dict[str, Any]
    validation: dict[str, Any]
    training: dict[str, dict[str, Any]]  # stage → figures
    curves: dict[str, list[dict[str, float]]]  # stage → rows with a step
    validation_curves: dict[str, list[dict[str, float]]]
    calibration: dict[str, Any]
    metrics: dict[str, Any]
    benchmark: dict[str, Any]

    @classmethod
    def load(cls) -> Results:
        """Read the files that ``dvc.yaml`` lists for the stage. Raises VelocityError naming one that is missing."""
        reports = project.REPORTS
        return cls(
            params=load_params(project.PARAMS),
            data=_read(project.PREPARED_SUMMARY),
            validation=_read(project.VALIDATION_SUMMARY),
            training={stage: _read(reports / f"{stage}.json") for stage in STAGES},
            curves={stage: read_curve(reports / f"{stage}.csv") for stage in STAGES},
            validation_curves={stage: read_curve(reports / f"{stage}-validation.csv") for stage in STAGES},
            calibration=_read(project.CALIBRATION),
            metrics=_read(project.METRICS),
            benchmark=_read(project.BENCHMARK),
        )

    @property
    def trained_on(self) -> str:
        """A sentence on the training data; it warns when that is synthetic speech only."""
        kinds = {corpus.kind for corpus in self.params.corpora.values()}
        if kinds == {"synthetic"}:
            engines = ", ".join(sorted({corpus.engine for corpus in self.params.corpora.values()}))
            return (
                f"Trained and tested on **synthetic speech only** ({engines}, made on this machine): the figures show "
                "that the pipeline works and say nothing about human speech."
            )
        names = ", ".join(f"`{name}`" for name in sorted(self.params.corpora))
        if "synthetic" in kinds:
            return f"Trained on recorded and **synthetic** speech ({names}); the table of test sets tells them apart."
        return f"Trained on recorded speech ({names})."

    @property
    def shipped(self) -> dict[str, dict[str, Any]]:
        """Test set → the figures of one ``artefact``: the shipped one, where it was evaluated."""
        chosen = {
            name: SHIPPED if SHIPPED in artefacts else min(artefacts)
            for name, artefacts in sorted(self.metrics["test_sets"].items())
        }
        return {
            name: {"artefact": artefact} | self.metrics["test_sets"][name][artefact]
            for name, artefact in chosen.items()
        }

    @property
    def parity_failures(self) -> list[tuple[str, str]]:
        """(artefact, bar it missed)."""
        parity = sorted(self.metrics["parity"].items())
        return [(name, shortfall) for name, figures in parity for shortfall in figures["failed"]]

    @property
    def scaling(self) -> list[tuple[str, list[list[float]]]]:
        """(artefact, [[seconds of audio, real-time factor], …]) of the artefacts that run on this machine."""
        artefacts = sorted(self.benchmark["artefacts"].items())
        return [(name, figures["scaling"]) for name, figures in artefacts if "scaling" in figures]

    @property
    def training_figures(self) -> list[str]:
        return sorted({name for figures in self.training.values() for name in figures})

    def speech_of(self, test_set: str) -> str:
        """Whose voices ``<corpus>-test`` or ``<corpus>-test-<part>`` holds; "" for an unknown corpus."""
        names = [name for name in self.params.corpora if f"{test_set}-".startswith(f"{name}-test-")]
        if not names:
            return ""
        name = max(names, key=len)
        known = ", **of speakers in the training set**" if name in self.split_by_utterance else ""
        return f"{self.kind_of(self.params.corpora[name])}{known}"

    @property
    def split_by_utterance(self) -> list[str]:
        """The corpora whose splits share speakers."""
        return sorted(self.data.get("split_by_utterance", {}))

    @staticmethod
    def kind_of(corpus: Corpus) -> str:
        return f"**synthetic** ({corpus.engine})" if corpus.kind == "synthetic" else "recorded speech"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VelocityError(f"{path}: cannot be read as JSON; `dvc repro` makes it") from error


def read_curve(path: Path) -> list[dict[str, float]]:
    """The rows of a training curve; empty cells are left out. Raises VelocityError when it is not such a CSV file."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise VelocityError(f"{path}: cannot be read as a training curve; `dvc repro` makes it") from error


def report(results: Results) -> str:
    """``reports/README.md``."""
    return render("report.md", results=results, model=MODEL, stages=STAGES, actions=ACTIONS, label=label, shown=shown)


def model_card(results: Results) -> str:
    """``reports/MODEL_CARD.md``."""
    return render("model_card.md", results=results, model=MODEL)


def label(name: str) -> str:
    return name.replace("_", " ").replace("wer", "WER").replace("cer", "CER")


def shown(name: str, value: Any) -> str:
    """A figure of any kind as a table cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return rate(value) if name.endswith(("wer", "cer", "error_rate", "ci95")) else f"{value:.4g}"
    if isinstance(value, list):
        return (" to " if name.endswith("ci95") else ", ").join(shown(name, item) for item in value)
    if isinstance(value, dict):
        cells = {key: shown(key, item) for key, item in sorted(value.items())}
        cells |= {key: f"({cells[key]})" for key, item in value.items() if isinstance(item, dict)}
        return ", ".join(f"{label(key)} {cell}" for key, cell in cells.items())
    return str(value)
