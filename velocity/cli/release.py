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


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A")],
    second: Annotated[str, typer.Argument(metavar="B")],
    test_set: TestSets = None,
    out: Annotated[Path, typer.Option(help="Where comparison.md and comparison.json go.", metavar="DIR")] = Path(
        "reports"
    ),
    as_json: Json = False,
) -> None:
    """Tell how model B differs from model A: error rates, the utterances behind them, speed, size.

    When B is a version of the registry, its run in MLflow keeps the report as well.

    
    Example:
      velocity-asr compare models:/velocity-asr@champion models:/velocity-asr@challenger --test-set synthetic-test
    """
    from velocity.commands.gate import compare

    told = compare(first, second, test_set, out)
    print(json.dumps(told, indent=2) if as_json else (out / "comparison.md").read_text(encoding="utf-8"), end="")


@app.command()
def register(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which version it is, if it is one.")] = False,
    as_json: Json = False,
) -> None:
    """Register what this project has exported and measured, as the challenger.

    A version in MLflow's registry of the model velocity-asr, with its figures, its model card and what it was made
    from. The same artefacts with the same metrics are registered once.

    \b
    Example:
      dvc repro && velocity-asr register && velocity-asr promote
    """
    from velocity.commands.registry import register

    told = register(dry_run)
    print(json.dumps(told.to_json(), indent=2) if as_json else told)


@app.command()
def promote(
    version: Annotated[int | None, typer.Option(help="Default: the challenger.", min=1)] = None,
    test_set: TestSets = None,
    tolerance: Tolerance = None,
    rtf_tolerance: RtfTolerance = None,
    only_better: Annotated[
        bool,
        typer.Option("--only-better", help="A pass is not enough: fewer errors on some test set, and not by chance."),
    ] = False,
    markdown: Markdown = None,
    as_json: Json = False,
) -> int:
    """Make the challenger the champion, if the gate lets it pass.

    Exit status as for gate; 1 as well for what passes and is not better, with --only-better.

    \b
    Example:
      velocity-asr promote --test-set synthetic-test
    """
    from velocity.commands.gate import limits
    from velocity.commands.registry import promote, standing
    from velocity.gate import Verdict

    with _told_in_json(as_json):
        number = str(version) if version else None
        judgement, champions = promote(number, test_set, limits(tolerance, rtf_tolerance), only_better)
    _show(judgement, as_json, markdown)
    kept_out = only_better and judgement.verdict is Verdict.PASS and not judgement.better
    if not as_json:
        print("on no test set better than by chance: not promoted\n" * kept_out + standing(champions))
    return 1 if kept_out else judgement.verdict.status


@app.command()
def rollback(
    leaving: Annotated[
        int | None,
        typer.Option(
            help="Only if this version is the champion: the command may then be repeated.", metavar="N", min=1
        ),
    ] = None,
) -> None:
    """Make the previous champion the champion again. Repeated, it goes further back.

    \b
    Example:
      velocity-asr rollback --leaving 3
    """
    from velocity.commands.registry import rollback, standing

    print(standing(rollback(str(leaving) if leaving else None)))
