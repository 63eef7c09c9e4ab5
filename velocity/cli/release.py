"""Commands that compare models and manage the champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from velocity.cli.app import app
from velocity.cli.options import Json
from velocity.errors import VelocityError, reason
from velocity.project import REPORTS

TestSets = Annotated[
    list[str] | None,
    typer.Option(
        "--test-set",
        help="A folder in LibriSpeech layout, a .jsonl file of Lhotse cuts, or a name, as for evaluate. May be "
        "repeated. Default: all test sets of this project.",
        metavar="NAME|DIR|MANIFEST",
    ),
]
Tolerance = Annotated[
    float | None, typer.Option(help="Tolerated increase of WER, in points. Default: gate.wer_tolerance in params.yaml.")
]
RtfTolerance = Annotated[
    float | None, typer.Option(help="Tolerated ratio of processor times. Default: gate.rtf_tolerance in params.yaml.")
]
Markdown = Annotated[Path | None, typer.Option(help="Also write the verdict as a Markdown table.", metavar="FILE")]


@app.command()
def gate(
    candidate: Annotated[str, typer.Option(help="The model to judge, as for transcribe --model.", metavar="M")],
    champion: Annotated[str, typer.Option(help="The model it would replace.", metavar="M")],
    test_set: TestSets = None,
    tolerance: Tolerance = None,
    rtf_tolerance: RtfTolerance = None,
    markdown: Markdown = None,
    as_json: Json = False,
) -> int:
    """Judge whether a model may replace the champion.

    Compares error rates, speed, size, memory and parity with PyTorch.

    Exit status 0: pass. 1: regression. 2: could not judge, because the test set is too small, the machine is too busy,
    or the input is invalid; with --json, `verdict` says which.

    \b
    Example:
      velocity-asr gate --candidate models/export --champion models:/velocity-asr@champion --test-set synthetic-test
    """
    from velocity.commands.gate import gate, limits

    with errors_as_json(as_json):
        judgement = gate(candidate, champion, test_set, limits(tolerance, rtf_tolerance))
    _show(judgement, as_json, markdown)
    return judgement.verdict.status


@contextmanager
def errors_as_json(as_json: bool) -> Iterator[None]:
    """With --json, print a verdict even for invalid input."""
    try:
        yield
    except (VelocityError, OSError) as error:
        if as_json:
            print(json.dumps({"verdict": "invalid", "reasons": [reason(error)]}, indent=2))
        raise


def _show(judgement: Any, as_json: bool, markdown: Path | None) -> None:
    from velocity.files import write_text
    from velocity.gate import table

    if markdown:
        write_text(markdown, table.markdown(judgement))
    print(json.dumps(judgement.to_json(), indent=2) if as_json else "\n".join(table.plain(judgement)))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A model, as for transcribe --model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The model to compare with it.")],
    test_set: TestSets = None,
    out: Annotated[
        Path, typer.Option(help="The folder for comparison.md and comparison.json.", metavar="DIR")
    ] = REPORTS,
    as_json: Json = False,
) -> None:
    """Show how model B differs from model A.

    Compares error rates, changed utterances, speed and size. If B is a version in the registry, the report is also
    attached to its run in MLflow.

    \b
    Example:
      velocity-asr compare models:/velocity-asr@champion models:/velocity-asr@challenger --test-set synthetic-test
    """
    from velocity.commands.gate import compare

    result = compare(first, second, test_set, out)
    print(json.dumps(result, indent=2) if as_json else (out / "comparison.md").read_text(encoding="utf-8"), end="")


@app.command()
def register(
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Register nothing; only report whether these results are already a version."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Register this project's model as the challenger.

    The challenger is the version that promote judges next. Creates a version of velocity-asr in MLflow's registry, with
    its figures, model card and origin. The same artefacts with the same metrics are registered only once.

    \b
    Example:
      dvc repro && velocity-asr register && velocity-asr promote
    """
    from velocity.commands.registry import register

    result = register(dry_run)
    print(json.dumps(result.to_json(), indent=2) if as_json else result)


@app.command()
def promote(
    version: Annotated[int | None, typer.Option(help="The version to promote. Default: the challenger.", min=1)] = None,
    test_set: TestSets = None,
    tolerance: Tolerance = None,
    rtf_tolerance: RtfTolerance = None,
    only_better: Annotated[
        bool, typer.Option("--only-better", help="Also require significantly fewer errors on some test set.")
    ] = False,
    markdown: Markdown = None,
    as_json: Json = False,
) -> int:
    """Make the challenger the champion, if the gate passes it.

    The champion is the version in use: models:/velocity-asr@champion. The first version has no champion to be compared
    with, so only its size, memory and parity are judged. The exit status is that of gate; with --only-better it is also
    1 for a model that passes without being better.

    \b
    Example:
      velocity-asr promote --test-set synthetic-test
    """
    from velocity.commands.gate import limits
    from velocity.commands.registry import promote, standing
    from velocity.gate import Verdict

    with errors_as_json(as_json):
        number = str(version) if version else None
        judgement, champions = promote(number, test_set, limits(tolerance, rtf_tolerance), only_better)
    _show(judgement, as_json, markdown)
    refused = only_better and judgement.verdict is Verdict.PASS and not judgement.better
    if not as_json:
        print("not significantly better on any test set: not promoted\n" * refused + standing(champions))
    return 1 if refused else judgement.verdict.status


@app.command()
def rollback(
    leaving: Annotated[
        int | None,
        typer.Option(
            help="Roll back only if this version is the champion, so that the command can be repeated safely.",
            metavar="N",
            min=1,
        ),
    ] = None,
) -> None:
    """Make the previous champion the champion again.

    Repeat it to go further back.

    \b
    Example:
      velocity-asr rollback --leaving 3
    """
    from velocity.commands.registry import rollback, standing

    print(standing(rollback(str(leaving) if leaving else None)))
