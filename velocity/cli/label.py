"""The command that makes a corpus of recordings without text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli import options
from velocity.cli.app import app
from velocity.errors import VelocityError


@app.command()
def label(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Recordings without text.")],
    out: Annotated[Path, typer.Option(help="The folder to make.", metavar="DIR")],
    confidence: Annotated[
        float | None,
        typer.Option(
            help="Leave out utterances with a lower mean confidence of the words. Default: 0.5.", min=0.0, max=1.0
        ),
    ] = None,
    model: options.Model = None,
    quantized: options.Quantized = True,
    lm: options.LanguageModel = None,
    beam: options.Beam = None,
    jobs: Annotated[
        int | None, typer.Option(help="Files recognised at the same time. Default: one per processor core.", min=1)
    ] = None,
) -> None:
    """Label speech that has no text, to train on it.

    A model recognises the recordings of FOLDER. Passages that it recognises with confidence are cut at pauses and
    written to DIR in LibriSpeech's layout, FLAC files and transcripts: a corpus of kind: folder. Check some of the
    transcripts. The speaker is the part of the file name before the first '-', otherwise the folder two levels up,
    otherwise the topmost folder, otherwise the file name.

    \b
    Examples:
      velocity-asr label speech/interviews --out speech/interviews-labelled
      velocity-asr label speech/interviews --out speech/sure --confidence 0.7 --beam 512
    """
    from velocity.commands.decoder import decoder_from
    from velocity.commands.label import label as write_labels
    from velocity.commands.transcribe import usable_cores
    from velocity.recognition.pseudo_labels import CONFIDENCE

    recogniser = options.load(model, quantized, 1, lm)
    recogniser.decoder = decoder_from(recogniser, None, None, None, beam, 1)
    least = CONFIDENCE if confidence is None else confidence
    if failures := write_labels(recogniser, folder, out, least, jobs or usable_cores()):
        raise VelocityError("\n  ".join(["could not be read:", *failures]))
