"""``velocity-asr evaluate``: error rates on a test set, the errors themselves, and the error report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from velocity.evaluation.error_report import error_report, write_error_report
from velocity.evaluation.hypotheses import recognise
from velocity.evaluation.testset import read_test_set
from velocity.evaluation.wer import NORMALIZER
from velocity.recognition.offline import VelocityASR

ON_PAGE = 100  # worst utterances in the HTML report
IN_TEXT = 5  # worst speakers and utterances in the terminal


def evaluate(
    model: VelocityASR, test_set: str, jobs: int, folder: Path | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Recognise a test set, ``jobs`` utterances at a time; write the error report to ``folder``, if given.

    Returns the overall figures with the breakdown of ``error_report``, and a line on each fault of what was left out.
    Raises VelocityError for a test set of which nothing can be read.
    """
    found = read_test_set(test_set)
    name, faults = found.name, list(found.faults)
    recognition = recognise(model, found.utterances, name, jobs, confidences=True, unreadable=faults)
    report = error_report(recognition.utterances, recognition)
    if folder:
        title = f"{name}, {model.config.get('name') or model.folder.name}"
        write_error_report(report, title, folder / name, ON_PAGE)
    figures = {
        "test_set": name,
        "model": str(model.folder),
        **report.pop("overall"),
        "audio_seconds": round(recognition.audio_seconds, 2),
        "rtf": round(recognition.rtf, 5),
        "normalizer": NORMALIZER,
        **report,
    }
    return figures, faults


def as_text(result: dict[str, Any], threads: str) -> str:
    """The figures, the worst speakers and the worst utterances as text."""
    rows = {
        "test set": result["test_set"],
        "model": result["model"],
        "WER": f"{_percent(result['wer'])}  (95 % interval {_interval(result['wer_ci95'])})",
        "CER": f"{_percent(result['cer'])}  (95 % interval {_interval(result['cer_ci95'])})",
        "utterances": f"{result['utterances']}, {result['words']} words, {result['audio_seconds']:.0f} s",
        "real-time factor": f"{result['rtf']:.4f} with {threads}",
        "normaliser": result["normalizer"],
    }
    lines = [f"{name:<16}  {value}" for name, value in rows.items()]
    lengths = {_span(row["seconds"]): row for row in result["lengths"]}
    lines += _table("by length", lengths)
    speakers = result["speakers"]
    shown = dict(list(speakers.items())[:IN_TEXT])
    lines += _table(f"worst speakers of {len(speakers)}" if len(speakers) > IN_TEXT else "by speaker", shown)
    for entry in result["errors"][:IN_TEXT]:
        lines += ["", f"{entry['id']}  errors: {entry['errors']}, words: {entry['words']}"]
        lines += _aligned(entry["alignment"])
    return "\n".join(lines)


def _table(title: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    width = max(16, *map(len, rows))
    return ["", f"{title:<{width}}  {'WER':>8}  {'95 % interval':>16}  {'CER':>8}  utterances"] + [
        f"{name:<{width}}  {_percent(row['wer']):>8}  {_interval(row['wer_ci95']):>16}  {_percent(row['cer']):>8}  "
        f"{row['utterances']}"
        for name, row in rows.items()
    ]


def _aligned(pairs: list[tuple[str, str]]) -> list[str]:
    """Two lines, the reference words above the hypothesis words; dots where a word has no counterpart."""
    widths = [max(len(reference), len(hypothesis)) for reference, hypothesis in pairs]
    lines = []
    for label, words in zip(("ref", "hyp"), zip(*pairs, strict=True), strict=True):
        cells = (word.ljust(width) if word else "·" * width for word, width in zip(words, widths, strict=True))
        lines.append(f"  {label:<4}{' '.join(cells)}".rstrip())
    return lines


def _span(seconds: list[float]) -> str:
    return f"{seconds[0]:g}–{seconds[1]:g} s" if seconds[1] is not None else f"{seconds[0]:g} s and more"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


def _interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.2f}–{100 * bounds[1]:.2f} %"
