"""What a recogniser gets wrong: the worst utterances with their alignment, and the words it takes for each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from velocity.evaluation.testset import Utterance
from velocity.files import write_json, write_text

LISTED = 50  # confusions of each kind


def error_report(utterances: Sequence[Utterance], hypotheses: Sequence[str]) -> dict[str, Any]:
    """Every utterance with an error, worst first (errors a reference word, then id), and counts of the confusions.

    ``alignment`` is a list of [kind, reference words, hypothesis words]; the kinds are jiwer's: equal, substitute,
    delete, insert.
    """
    import jiwer

    listed, substituted, deleted, inserted = [], Counter(), Counter(), Counter()
    for utterance, hypothesis in zip(utterances, hypotheses, strict=True):
        output = jiwer.process_words(utterance.text, hypothesis)
        errors = output.substitutions + output.deletions + output.insertions
        if not errors:
            continue
        alignment = []
        for chunk in output.alignments[0]:
            said = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
            heard = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
            alignment.append([chunk.type, " ".join(said), " ".join(heard)])
            if chunk.type == "substitute":
                substituted.update(zip(said, heard, strict=True))
            elif chunk.type == "delete":
                deleted.update(said)
            elif chunk.type == "insert":
                inserted.update(heard)
        listed.append(
            {
                "id": utterance.id,
                "audio": str(utterance.path),
                "reference": utterance.text,
                "hypothesis": hypothesis,
                "errors": errors,
                "words": len(output.references[0]),
                "alignment": alignment,
            }
        )
    listed.sort(key=lambda entry: (-entry["errors"] / max(entry["words"], 1), -entry["errors"], entry["id"]))
    return {
        "utterances": len(utterances),
        "with_errors": len(listed),
        "substitutions": [[said, heard, count] for (said, heard), count in _most_common(substituted)],
        "deletions": [[word, count] for word, count in _most_common(deleted)],
        "insertions": [[word, count] for word, count in _most_common(inserted)],
        "errors": listed,
    }


def _most_common(counter: Counter) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:LISTED]


def write_error_report(report: dict[str, Any], title: str, path: Path, worst: int) -> None:
    """Write ``path``.json with everything and ``path``.html with the ``worst`` utterances."""
    write_json(path.with_name(f"{path.name}.json"), report)
    write_text(path.with_name(f"{path.name}.html"), _page(report, title, worst))


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
li { margin-bottom: .8em; } small { color: #666; } td { padding: 0 1.5em 0 0; } table { margin-bottom: 1em; }
del { color: #b00020; } ins { color: #00695c; } div { display: flex; gap: 3em; }
"""


def _page(report: dict[str, Any], title: str, worst: int) -> str:
    shown = report["errors"][:worst]
    items = "\n".join(
        f"<li>{_aligned(entry['alignment'])}<br>"
        f"<small>{escape(entry['id'])}: {entry['errors']} errors in {entry['words']} words</small></li>"
        for entry in shown
    )
    tables = "\n".join(
        f"<section><h2>{heading}</h2><table>{_rows(report[kind])}</table></section>"
        for heading, kind in (("Taken for", "substitutions"), ("Missed", "deletions"), ("Made up", "insertions"))
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<p>{report["with_errors"]} of {report["utterances"]} utterances have an error. The {len(shown)} worst:
<del>said but not heard</del>, <ins>heard but not said</ins>.</p>
<ol>
{items}
</ol>
<div>
{tables}
</div>
</html>
"""


def _aligned(alignment: list[list[str]]) -> str:
    parts = []
    for kind, said, heard in alignment:
        if kind == "equal":
            parts.append(escape(said))
        else:
            parts += [f"<del>{escape(said)}</del>"] if said else []
            parts += [f"<ins>{escape(heard)}</ins>"] if heard else []
    return " ".join(parts)


def _rows(counts: list[list[Any]]) -> str:
    return "".join(
        f"<tr><td>{escape(' → '.join(map(str, words)))}</td><td>{count}</td></tr>" for *words, count in counts
    )
