"""Commands that compare models, and decide which one is the champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from velocity.cli.app import app
from velocity.cli.options import Json
from velocity.errors import VelocityError

TestSets = Annotated[
    list[str] | None,
    typer.Option(
        "--test-set",
        help="A folder in LibriSpeech layout, a .jsonl of Lhotse cuts, or a name, as for evaluate; may be given more "
        "than once. Default: the test sets that this project prepared.",
        metavar="NAME|DIR|MANIFEST",
    ),
]
Tolerance = Annotated[
    float | None, typer.Option(help="Points of WER that are tolerated. Default: gate.wer_tolerance of params.yaml.")
]
RtfTolerance = Annotated[
    float | None, typer.Option(help="Times the champion's processor time. Default: gate.rtf_tolerance of params.yaml.")
]
Markdown = Annotated[Path | None, typer.Option(help="Also write the verdict as a Markdown table.", metavar="FILE")]


@app.command()
def gate(
    candidate: Annotated[str, typer.Option(help="The model to judge, as for transcribe.", metavar="M")],
    champion: Annotated[str, typer.Option(help="The model whose place it would take.", metavar="M")],
    test_set: TestSets = None,
    tolerance: Tolerance = None,
    rtf_tolerance: RtfTolerance = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> int:
    """Judge whether a model may take the champion's place: accuracy, speed, size, memory, parity.

    Exit status 0: it may. 1: a regression. 2: could not judge, for lack of speech or of quiet, or because of the input;
    with --json, `verdict` says which.

    \b
    Example:
      velocity-asr gate --candidate models/export --champion models:/velocity-asr@champion --test-set synthetic-test
    """
    from velocity.commands.gate import gate, limits

    with _told_in_json(as_json):
        judgement = gate(candidate, champion, test_set, limits(tolerance, rtf_tolerance))
    _show(judgement, as_json, markdown)
    return judgement.verdict.status


@contextmanager
def _told_in_json(as_json: bool) -> Iterator[None]:
    """Whoever reads JSON finds a verdict there even when the input is such that there is nothing to judge."""
    try:
        yield
    except VelocityError as error:
        if as_json:
            print(json.dumps({"verdict": "invalid", "reasons": [str(error)]}, indent=2))
        raise


def _show(judgement: Any, as_json: bool, markdown: Path | None) -> None:
    from velocity.commands.gate import write_markdown
    from velocity.gate.table import plain

    if markdown:
        write_markdown(markdown, judgement)
    print(json.dumps(judgement.to_json(), indent=2) if as_json else "\n".join(plain(judgement)))
