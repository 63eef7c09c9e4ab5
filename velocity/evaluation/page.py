"""The error report as one HTML page that needs nothing else: no library, no network, light and dark."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

UNSURE = 0.7  # words of less confidence are marked
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #fff; --faint: #6b6b76; --rule: #dcdce2; --bar: #4c78a8;
  --lost: #b00020; --made: #00695c; --soft: #f4f4f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ee; --paper: #16161a; --faint: #9a9aa8; --rule: #35353d;
  --bar: #7fa8d8; --lost: #ff8a8a; --made: #5fd3bc; --soft: #202027; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68em; margin: 2em auto; padding: 0 1em; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.5em; } h2 { font-size: 1.1em; margin-top: 2em; } small, .faint { color: var(--faint); }
ol { padding: 0; list-style: none; counter-reset: place; }
li { border-top: 1px solid var(--rule); padding: .7em 0; }
.words { display: flex; flex-wrap: wrap; gap: .1em .5em; margin: .4em 0; }
.word { display: inline-flex; flex-direction: column; }
.word span:empty::before { content: "·"; display: inline-block; color: var(--faint); }
.miss span { font-weight: 600; } .miss .said { color: var(--lost); text-decoration: line-through; }
.miss .heard { color: var(--made); text-decoration: underline; }
.unsure { border-bottom: 2px dotted var(--faint); }
audio { height: 2em; max-width: 20em; vertical-align: middle; }
table { border-collapse: collapse; } td, th { padding: .15em 1.2em .15em 0; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tbody tr:nth-child(odd) { background: var(--soft); }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--bar); }
th[aria-sort=ascending] button::after { content: " ↑"; } th[aria-sort=descending] button::after { content: " ↓"; }
.beside { display: flex; flex-wrap: wrap; gap: 0 3em; align-items: start; }
section, .beside > table { overflow-x: auto; max-width: 100%; }
svg text { fill: currentColor; font-size: 11px; }
"""
SCRIPT = """
for (const head of document.querySelectorAll('table.sortable th')) {
  const button = document.createElement('button');
  button.append(...head.childNodes);
  head.append(button);
  button.onclick = () => {
    const up = head.getAttribute('aria-sort') === 'descending';
    const key = row => row.cells[head.cellIndex].dataset.v ?? row.cells[head.cellIndex].textContent;
    const order = (a, b) => a - b || String(a).localeCompare(String(b), 'en', {numeric: true});
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const body = head.closest('table').tBodies[0];
    body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
  };
}
"""
ALLOWED = sha256(SCRIPT.encode()).digest()  # no other script runs, whatever the texts hold
POLICY = (
    f"default-src 'none'; script-src 'sha256-{b64encode(ALLOWED).decode()}'; style-src 'unsafe-inline'; "
    "media-src 'self' file:"
)


def page(report: dict[str, Any], title: str, worst: int, folder: Path) -> str:
    """The ``worst`` utterances of an ``error_report`` and its tables; audio is linked as seen from ``folder``."""
    shown, overall = report["errors"][:worst], report["overall"]
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p><strong>WER {_rate(overall['wer'])}</strong> (95 % interval {_interval(overall['wer_ci95'])}), "
        f"CER {_rate(overall['cer'])}, over {overall['utterances']:,} utterances and {overall['words']:,} words. "
        f"{report['with_errors']:,} utterances have an error.</p>",
        "<h2>By length</h2>",
        f'<div class="beside">{_plot(report["lengths"])}{_lengths(report["lengths"])}</div>',
        _section("By speaker", _speakers(report["speakers"]) if report["speakers"] else ""),
        _section("By confidence", _confidences(report["confidences"]) if report["confidences"] else ""),
        f"<h2>The {len(shown)} worst utterances</h2>",
        '<p class="faint">Above what was said, below what was heard; · is nothing, dotted is a word heard with a '
        f"confidence below {UNSURE:g}.</p>",
        "<ol>",
        *(_utterance(entry, folder) for entry in shown),
        "</ol>",
        '<div class="beside">',
        *(
            _section(heading, _counts(report[kind]))
            for heading, kind in (("Taken for", "substitutions"), ("Missed", "deletions"), ("Made up", "insertions"))
        ),
        "</div>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _utterance(entry: dict[str, Any], folder: Path) -> str:
    end = entry["start"] + entry["seconds"]
    # A relative link survives a project that is moved with its reports; the fragment plays one cut of a recording.
    source = f"{quote(os.path.relpath(entry['audio'], folder))}#t={entry['start']:g},{end:.3f}"
    speaker = f", {escape(str(entry['speaker']))}" if entry["speaker"] else ""
    return (
        f"<li><div><strong>{escape(entry['id'])}</strong>{speaker}, {entry['seconds']:.1f} s, "
        f"errors: {entry['errors']}, words: {entry['words']} "
        f'<audio controls preload="none" src="{escape(source)}"></audio> '
        f"<small>{escape(entry['audio'])}</small></div>\n"
        f'<div class="words">{_words(entry)}</div></li>'
    )


def _words(entry: dict[str, Any]) -> str:
    """Columns of a reference word above its hypothesis word."""
    heard_words = [heard for _, heard in entry["alignment"] if heard]
    known = len(entry["confidences"]) == len(heard_words)
    confidences = iter(entry["confidences"] if known else [1.0] * len(heard_words))
    columns = []
    for said, heard in entry["alignment"]:
        confidence = next(confidences) if heard else 1.0
        unsure = f' unsure" title="confidence {confidence:.2f}' if confidence < UNSURE else ""
        columns.append(
            f'<span class="word{"" if said == heard else " miss"}"><span class="said">{escape(said)}</span>'
            f'<span class="heard{unsure}">{escape(heard)}</span></span>'
        )
    return "".join(columns)


def _speakers(speakers: dict[str, dict[str, Any]]) -> str:
    rows = [[name, *_figures(figures)] for name, figures in speakers.items()]
    return _table(["speaker", "WER", "95 % interval", "CER", "utterances", "words"], rows, sortable=True)


def _lengths(lengths: Sequence[dict[str, Any]]) -> str:
    rows = [[_span(row["seconds"]), *_figures(row)] for row in lengths]
    return _table(["seconds", "WER", "95 % interval", "CER", "utterances", "words"], rows)


def _confidences(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        ["–".join(f"{bound:g}" for bound in row["confidence"]), _count(row["words"]), _cell(row["correct"])]
        for row in rows
    ]
    return _table(["confidence", "words heard", "of them said"], cells)


def _counts(counts: Sequence[Sequence[Any]]) -> str:
    return _table(["", "times"], [[" → ".join(words), _count(count)] for *words, count in counts])


def _figures(figures: dict[str, Any]) -> list[Any]:
    interval = (figures["wer_ci95"][1], _interval(figures["wer_ci95"]))
    counts = _count(figures["utterances"]), _count(figures["words"])
    return [_cell(figures["wer"]), interval, _cell(figures["cer"]), *counts]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]], sortable: bool = False) -> str:
    """Cells are texts, or (number to sort by, text)."""
    rows = list(rows)
    kinds = [isinstance(cell, tuple) for cell in rows[0]] if rows else [False] * len(header)
    heads = "".join(f"<th{' class=n' * number}>{escape(name)}</th>" for name, number in zip(header, kinds, strict=True))
    lines = "\n".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
    kind = " class=sortable" if sortable else ""
    return f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>\n{lines}\n</tbody></table>"


def _td(cell: Any) -> str:
    return f'<td class=n data-v="{cell[0]}">{cell[1]}</td>' if isinstance(cell, tuple) else f"<td>{escape(cell)}</td>"


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>" if content else ""


def _plot(lengths: Sequence[dict[str, Any]]) -> str:
    """Bars of the word error rate by length, with whiskers for the 95 % intervals."""
    height, step, foot = 160, 56, 20
    top = max(max(row["wer"], row["wer_ci95"][1]) for row in lengths) or 1.0
    y = lambda rate: round(foot + height * (1 - rate / top), 1)  # noqa: E731
    marks = []
    for index, row in enumerate(lengths):
        middle = step * index + step // 2 + 30
        bar, low, high = y(row["wer"]), *map(y, row["wer_ci95"])
        marks.append(
            f'<rect x="{middle - 16}" y="{bar}" width="32" height="{round(height + foot - bar, 1)}" '
            f'fill="var(--bar)"/><path d="M{middle} {low}V{high}m-5 0h10" stroke="currentColor"/>'
            f'<text x="{middle}" y="{height + foot + 15}" text-anchor="middle">{_span(row["seconds"])} s</text>'
        )
    width = step * len(lengths) + 40
    scale = f'<text x="0" y="{foot + 4}">{_rate(top)}</text><text x="0" y="{height + foot}">0</text>'
    return (
        f'<svg role="img" aria-label="word error rate by length" width="{width}" height="{height + 2 * foot}">'
        f'{scale}<path d="M30 {foot}V{height + foot}H{width}" stroke="var(--rule)" fill="none"/>{"".join(marks)}</svg>'
    )


def _span(seconds: Sequence[float | None]) -> str:
    return f"{seconds[0]:g}–{seconds[1]:g}" if seconds[1] is not None else f"{seconds[0]:g}+"


def _cell(rate: float) -> tuple[float, str]:
    return rate, _rate(rate)


def _count(number: int) -> tuple[int, str]:
    return number, f"{number:,}"


def _rate(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _interval(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %"
