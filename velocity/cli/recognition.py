"""Commands that turn speech into text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app
from velocity.cli.options import Model, Quantized, Threads, load
from velocity.commands.formats import Format
from velocity.errors import VelocityError


@app.command()
def transcribe(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", show_default=False)] = None,
    model: Model = None,
    quantized: Quantized = True,
    input_dir: Annotated[Path | None, typer.Option(help="Transcribe every audio file below this folder.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Write one file a transcript here, not to stdout.")] = None,
    format: Annotated[
        Format, typer.Option(help="json gives one object a line; srt and vtt are subtitles.")
    ] = Format.TEXT,
    threads: Threads = 1,
) -> None:
    """Turn speech in audio files into text.

    Several files give lines of "FILE<TAB>text". A file that cannot be read does not stop the others: such files are
    listed at the end, and the exit status is 2.

    \b
    Examples:
      velocity-asr transcribe speech.wav
      velocity-asr transcribe talk.flac --format srt > talk.srt
      velocity-asr transcribe --input-dir recordings --output-dir transcripts --format json
    """
    from velocity.commands.transcribe import find_audio, output_paths, transcribe_files

    chosen = list(files or []) + (find_audio(input_dir) if input_dir else [])
    if not chosen:
        raise VelocityError("nothing to transcribe: name audio files, or a folder of them with --input-dir")
    if format in (Format.SRT, Format.VTT) and len(chosen) > 1 and output_dir is None:
        raise VelocityError(f"subtitles ({format}) of {len(chosen)} files need a folder to go to: add --output-dir D")
    targets = output_paths(chosen, input_dir, output_dir, format) if output_dir else None
    failures = transcribe_files(load(model, quantized, threads), chosen, targets, format)
    if len(chosen) == 1 and failures:
        raise VelocityError(failures[0])
    if failures:
        summary = f"{len(failures)} of {len(chosen)} files could not be transcribed:"
        raise VelocityError("\n  ".join([summary, *failures]))
