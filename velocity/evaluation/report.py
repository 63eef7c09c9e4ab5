"""The report people read, and the model card, from the figures the stages wrote: nothing is computed here anew."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from velocity.config import PARAMS_FILE, Params, load_params
from velocity.config.corpora import Corpus
from velocity.errors import VelocityError

MODEL = "VELOCITY-ASR v2"
STAGES = {
    "pretrain": "Self-supervised pretraining",
    "finetune": "CTC fine-tuning with INT8 quantisation-aware training",
}
SHIPPED = "onnx-int8"  # the artefact that figures are quoted for when only one is
DONE = {"drop": "left out", "warn": "only told"}  # about what a check of ``validate`` finds


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
        return cls(
            params=load_params(PARAMS_FILE),
            data=_read("data/prepared/summary.json"),
            validation=_read("reports/validation/summary.json"),
            training={stage: _read(f"reports/{stage}.json") for stage in STAGES},
            curves={stage: read_curve(Path(f"reports/{stage}.csv")) for stage in STAGES},
            validation_curves={stage: read_curve(Path(f"reports/{stage}-validation.csv")) for stage in STAGES},
            calibration=_read("models/calibration.json"),
            metrics=_read("reports/metrics.json"),
            benchmark=_read("reports/benchmark.json"),
        )

    @property
    def trained_on(self) -> str:
        """One sentence on what the model has heard, which says so when that is no speech of people."""
        kinds = {corpus.kind for corpus in self.params.corpora.values()}
        if kinds == {"synthetic"}:
            engines = ", ".join(sorted({corpus.engine for corpus in self.params.corpora.values()}))
            return (
                f"Trained and tested on **synthetic speech only** ({engines}, made on this machine): the figures show "
                "that the pipeline works and say nothing about speech of people."
            )
        names = ", ".join(f"`{name}`" for name in sorted(self.params.corpora))
        if "synthetic" in kinds:
            return f"Trained on recorded and **synthetic** speech ({names}); each test set below says which it is."
        return f"Trained on recorded speech ({names})."

    def corpus_of(self, test_set: str) -> Corpus | None:
        """Of ``<corpus>-test``, or ``<corpus>-test-<part>``."""
        names = [name for name in self.params.corpora if f"{test_set}-".startswith(f"{name}-test-")]
        return self.params.corpora[max(names, key=len)] if names else None


def _read(path: str) -> dict[str, Any]:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
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
    sections = [
        f"# {MODEL}: what was measured",
        results.trained_on,
        headline(results),
        parity_failures(results),
        "Made by the stage `report`; `dvc repro` makes it again. The model itself: [MODEL_CARD.md](MODEL_CARD.md).",
        "## Accuracy",
        accuracy(results),
        "![Word error rates with their 95 % intervals](plots/wer.png)",
        "The intervals are the percentile bootstrap over utterances. References and hypotheses went through the "
        f"normaliser `{results.metrics['normalizer']}` alike. Of each corpus, those who speak in the test set "
        "were left out of its training set.",
        "## Size and speed",
        speed(results),
        "![Real-time factor by length](plots/rtf.png)",
        machine(results),
        "## Parity with PyTorch",
        parity(results),
        "Errors are of log-posteriors, over real utterances and speech of 0.2 to 60 s. INT8 models are compared with "
        "the fake-quantised network in PyTorch, Core ML's by its words; Core ML is interpreted from the saved program, "
        "its 16 bits rounded as declared. `web` holds the file of `onnx-int8`.",
        "### Calibration",
        calibration(results),
        "## Data",
        corpora(results),
        splits(results),
        validation(results),
        "## Training",
        training(results),
        "![Losses, and word error rate on validation](plots/training.png)",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def headline(results: Results) -> str:
    """The one figure to remember of each test set."""
    lines = []
    for name, artefacts in sorted(results.metrics["test_sets"].items()):
        artefact = SHIPPED if SHIPPED in artefacts else min(artefacts)
        figures = artefacts[artefact]
        lines.append(f"**WER {rate(figures['wer'], figures['wer_ci95'])}** on `{name}` ({artefact})")
    speeds = results.benchmark["artefacts"]
    if SHIPPED in speeds:
        figures = speeds[SHIPPED]
        lines.append(f"{figures['bytes'] / 1e6:.2f} MB, real-time factor {figures['rtf_1thread']:.4f} on one thread")
    return "; ".join(lines) + "."


def accuracy(results: Results) -> str:
    rows = []
    for name, artefacts in sorted(results.metrics["test_sets"].items()):
        corpus = results.corpus_of(name)
        speech = speech_of(corpus) if corpus else ""
        for artefact, figures in sorted(artefacts.items()):
            rows.append([f"`{name}`", speech, artefact, *_error_cells(figures)])
            for group, part in sorted(figures.get("groups", {}).items()):
                rows.append([f"`{name}`: {group}", speech, artefact, *_error_cells(part)])
    return table(["test set", "speech", "artefact", "WER (95 % interval)", "CER", "utterances", "words"], rows)


def _error_cells(figures: dict[str, Any]) -> list[str]:
    words, utterances = f"{figures['words']:,}", f"{figures['utterances']:,}"
    return [rate(figures["wer"], figures["wer_ci95"]), rate(figures["cer"]), utterances, words]


def rate(value: float, interval: Sequence[float] | None = None) -> str:
    """0.0421, [0.035, 0.05] → ``4.2 % (3.5–5.0)``."""
    shown = f"{100 * value:.1f} %"
    return f"{shown} ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})" if interval else shown


def speed(results: Results) -> str:
    artefacts = sorted(results.benchmark["artefacts"].items())
    rows = [
        [
            name,
            f"{figures['bytes'] / 1e6:.2f} MB",
            *(_measured(figures, key, "{:.4f}") for key in ("rtf_1thread", "rtf_2threads")),
            _measured(figures, "latency_seconds", "{:.0f} ms", 1000),
            _measured(figures, "first_result_seconds", "{:.0f} ms", 1000),
            _measured(figures, "cold_start_seconds", "{:.2f} s"),
            _measured(figures, "peak_rss_bytes", "{:.0f} MB", 1e-6),
        ]
        for name, figures in artefacts
    ]
    header = ["artefact", "size", "real-time factor", "on two threads", "10 s of audio", "first words of a minute"]
    header += ["cold start of the command", "peak memory"]
    timed = [(name, figures["scaling"]) for name, figures in artefacts if "scaling" in figures]
    lengths = [f"{seconds:g} s" for seconds, _ in timed[0][1]] if timed else []
    scaling = [[name, *(f"{rtf:.4f}" for _, rtf in curve)] for name, curve in timed]
    return (
        table(header, rows)
        + "\n\nReal-time factor by length of the audio:\n\n"
        + table(["artefact", *lengths], scaling)
    )


def _measured(figures: dict[str, Any], key: str, form: str, unit: float = 1.0) -> str:
    """A figure in its ``unit``; – where the artefact does not run on this machine."""
    return form.format(figures[key] * unit) if key in figures else "–"


def machine(results: Results) -> str:
    told = results.benchmark["machine"]
    return (
        f"Measured on one thread where nothing else is said, features included, on {told['cpu']} ({told['cores']} "
        f"cores, {told['system']}) with onnxruntime {told['onnxruntime']} and Python {told['python']}. What shows no "
        "speed does not run here: its size is told."
    )


def parity_failures(results: Results) -> str:
    """Where an artefact is not what was trained; nothing otherwise."""
    failed = [
        f"- **{name}: parity FAILED**: {shortfall}"
        for name, figures in sorted(results.metrics["parity"].items())
        for shortfall in figures["failed"]
    ]
    told = "**Not fit for release: an artefact does not compute what was trained.**"
    return "\n".join([told, "", *failed]) if failed else ""


def parity(results: Results) -> str:
    rows = [
        [
            name,
            "passed" if figures["passed"] else "**FAILED**",
            f"{100 * figures['argmax_agreement']:.2f} % of {figures['frames']:,}",
            f"{100 * figures['wer_difference']:+.2f} ({figures['decoded']:,} utterances)",
            f"{100 * far:+.2f}" if (far := figures.get("wer_difference_from_float")) is not None else "–",
            f"{figures['max_abs_error']:.2g}",
            f"{figures['mean_abs_error']:.2g}",
        ]
        for name, figures in sorted(results.metrics["parity"].items())
    ]
    header = ["frames with the same best class", "WER − PyTorch's, points", "WER − FP32's, points"]
    return table(["artefact", "parity", *header, "worst error", "mean error"], rows)


def calibration(results: Results) -> str:
    """Where the INT8 ranges come from, and what each method makes of the model."""
    told = results.calibration
    rows = [
        [
            f"**{method}** (chosen)" if method == told["ranges"] else method,
            rate(figures["wer"]),
            f"{figures['same_best_class_percent']:.2f} %",
            f"{figures['snr_db']:.1f} dB",
        ]
        for method, figures in told["compared"].items()
    ]
    header = ["activation ranges", "WER, INT8", "frames with the best class of FP32", "SNR of the log-posteriors"]
    return (
        f"What quantisation alone changes, in {len(told['layers'])} INT8 layers, by the method that gave the ranges of "
        f"their inputs: over {told['compared_on']:,} utterances of validation, on which floating point has a WER of "
        f"{rate(told['float_wer'])}. The ranges were chosen on {told['utterances']:,} utterances of training by "
        f"{told['speakers']:,} speakers.\n\n" + table(header, rows)
    )


def corpora(results: Results) -> str:
    known = results.validation.get("corpora", {})
    rows = []
    for name, corpus in sorted(results.params.corpora.items()):
        figures = known.get(name, {})
        hours = f"{figures['hours']:.2f}" if "hours" in figures else "–"
        labelled = "yes" if corpus.labelled else "no"
        rows.append([f"`{name}`", speech_of(corpus), labelled, hours])
    return table(["corpus", "speech", "with text", "hours"], rows)


def speech_of(corpus: Corpus) -> str:
    """Whose voices those are."""
    return f"**synthetic** ({corpus.engine})" if corpus.kind == "synthetic" else "recorded speech"


def splits(results: Results) -> str:
    rows = [
        [
            name,
            *(f"{figures[key]:,}" if key in figures else "–" for key in ("utterances", "speakers", "words", "hours")),
        ]
        for name, figures in sorted(results.data["splits"].items())
    ]
    classes = f"The model tells {results.data['vocabulary']} CTC classes apart, blank included."
    return table(["split", "utterances", "speakers", "words", "hours"], rows) + f"\n\n{classes}"


def validation(results: Results) -> str:
    """Which checks found something, and what was done about it."""
    checks = results.validation.get("checks")
    if not checks:
        return ""
    told = f"{len(checks)} checks of the audio and its text"
    rows = [
        [name, f"{figures['failed']:,} of {figures['of']:,}", DONE[figures["severity"]]]
        for name, figures in checks.items()
        if figures["failed"]
    ]
    if not rows:
        return f"{told} found nothing to object to."
    return f"{told} found:\n\n" + table(["check", "utterances", ""], rows)


def training(results: Results) -> str:
    """What the training stages said, whatever that is: a row a figure."""
    names = sorted({name for figures in results.training.values() for name in figures})
    rows = [[label(name), *(shown(name, results.training[stage].get(name)) for stage in STAGES)] for name in names]
    return table(["", *STAGES.values()], rows)


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


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
