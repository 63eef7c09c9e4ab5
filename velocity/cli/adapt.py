"""The command that fits a model to one person's speech and words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app
from velocity.cli.options import Json
from velocity.cli.release import errors_as_json


@app.command()
def adapt(
    out: Annotated[
        Path, typer.Option(help="The folder for the new model. Work in progress is in DIR.adapting.", metavar="DIR")
    ],
    speech: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Recordings with text: LibriSpeech layout (*.trans.txt), a .txt of the same name beside each "
            "recording, or a .csv or .tsv with the columns path and text.",
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            help="More recordings, without text: what the base transcribes with confidence is added to the training.",
            metavar="FOLDER",
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            help="Words and phrases that the model should know, as for --hotwords of transcribe. Without FOLDER "
            "nothing is trained, and it takes a minute.",
            metavar="FILE",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The INT8 model to start from, the base. Default: as for --model of transcribe.",
            metavar="NAME|FOLDER",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="About how long to train, on a laptop with two cores or more. Default: 10.", min=0.1, max=600
        ),
    ] = None,
    general: Annotated[
        str | None,
        typer.Option(
            help="Speech of other people, to check what the new model has forgotten: as for --test-set of evaluate. "
            "Default: synthetic commands and numbers.",
            metavar="NAME|DIR|MANIFEST",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Adapt a model to your voice, your microphone and your words.

    Record about ten minutes with their text; the minimum is one minute. The model is trained three times, each time
    without another third of the recordings. The result is written only if these models make significantly fewer errors
    on the third that they have not seen, and if the word error rate on general speech is at most one point worse.
    Nothing leaves this machine. Repeat the command to resume a run that was stopped.

    Exit status 0: adapted and written. 1: refused, nothing is written. 2: invalid input.

    \b
    Examples:
      velocity-asr adapt my-recordings --out my-model
      velocity-asr adapt my-recordings --vocabulary names.txt --out my-model
      velocity-asr adapt --vocabulary names.txt --out my-model
      velocity-asr transcribe speech.wav --model my-model
    """
    from velocity.adaptation.judgement import table
    from velocity.commands.adapt import Request
    from velocity.commands.adapt import adapt as adapt_to
    from velocity.gate import Verdict

    with errors_as_json(as_json):
        judgement, measured = adapt_to(Request(out, speech, unlabelled, vocabulary, base, minutes, general))
    written = judgement.verdict is Verdict.PASS
    if as_json:
        model = str(out) if written else None
        print(json.dumps(judgement.to_json() | {"model": model, "test_sets": measured}, indent=2))
    else:
        print("\n".join(table(judgement, measured)))
        print(f"{out}: written" if written else f"refused: {out} is not written, {judgement.champion} is still better")
    return judgement.verdict.status
