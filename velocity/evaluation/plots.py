"""The report's pictures: PNG files whose bytes depend on the figures alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from velocity.evaluation.report import STAGES, Results

matplotlib.use("Agg")
SIZE = (8.0, 3.6)  # inches


def draw(results: Results, folder: Path) -> None:
    """Write ``training.png``, ``wer.png`` and ``rtf.png`` to ``folder``."""
    for name, figure in {"training": _training(results), "wer": _wer(results), "rtf": _rtf(results)}.items():
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})  # no version, no date


def _training(results: Results) -> Figure:
    """The losses of each training stage, and the word error rate on validation."""
    figure = Figure(SIZE, layout="constrained")
    *losses, rates = figure.subplots(1, len(STAGES) + 1)
    for panel, (stage, title) in zip(losses, STAGES.items(), strict=True):
        _line(panel, results.curves[stage], "loss", label="training", linewidth=0.9)
        _line(panel, results.validation_curves[stage], "loss", label="validation", marker="o", markersize=3)
        panel.set_title(title.split(" with ")[0], fontsize=9)
        panel.set_ylabel("loss")
        panel.legend(fontsize=8)
    _line(rates, results.validation_curves["finetune"], "wer", scale=100, marker="o", markersize=3)
    rates.set_title("Validation, greedy decoding", fontsize=9)
    rates.set_ylabel("word error rate, %")
    for panel in (*losses, rates):
        panel.set_xlabel("step")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    return figure


def _line(axes: Axes, rows: list[dict[str, float]], column: str, scale: float = 1.0, **style: Any) -> None:
    points = [(row["step"], scale * row[column]) for row in rows if column in row]
    axes.plot([step for step, _ in points], [value for _, value in points], **style)


def _wer(results: Results) -> Figure:
    """A bar for each artefact on each test set, with the 95 % interval."""
    bars = [
        (f"{name}\n{artefact}", 100 * figures["wer"], [100 * bound for bound in figures["wer_ci95"]])
        for name, artefacts in sorted(results.metrics["test_sets"].items())
        for artefact, figures in sorted(artefacts.items())
    ]
    labels, rates, intervals = zip(*bars, strict=True)
    # The percentile interval of a skewed distribution may leave its own estimate out: no negative whiskers.
    below = [max(0.0, value - low) for value, (low, _) in zip(rates, intervals, strict=True)]
    above = [max(0.0, high - value) for value, (_, high) in zip(rates, intervals, strict=True)]
    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(bars)), rates, yerr=[below, above], capsize=4, color="#4c78a8", width=0.6)
    axes.set_xticks(range(len(bars)), labels, fontsize=8)
    axes.set_xlim(-0.8, len(bars) - 0.2)
    axes.set_ylabel("word error rate, %")
    axes.grid(axis="y", alpha=0.3)
    return figure


def _rtf(results: Results) -> Figure:
    """The real-time factor by length: a level line means that the cost is linear in the length of the audio."""
    figure = Figure(SIZE, layout="constrained")
    axes = figure.subplots()
    for name, curve in results.scaling:
        axes.plot(*zip(*curve, strict=True), marker="o", label=name)
    axes.set_xscale("log")
    lengths = sorted({seconds for _, curve in results.scaling for seconds, _ in curve})
    axes.set_xticks(lengths, [f"{seconds:g}" for seconds in lengths])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of audio")
    axes.set_ylabel("real-time factor, one thread")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
