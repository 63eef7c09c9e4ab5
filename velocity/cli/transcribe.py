"""The command that transcribes audio files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli import options
from velocity.cli.app import app
from velocity.commands.formats import Format
from velocity.errors import VelocityError


@app.command()
def transcribe(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", show_default=False)] = None,
    model: options.Model = None,
    quantized: options.Quantized = True,
    input_dir: Annotated[Path | None, typer.Option(help="Transcribe every audio file below this folder.")] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="Write one file per transcript to this folder instead of stdout.")
    ] = None,
    format: Annotated[
        Format, typer.Option(help="json: one object per line, with words; srt, vtt: subtitles.")
    ] = Format.TEXT,
    lm: options.LanguageModel = None,
    lm_weight: options.LanguageModelWeight = None,
    word_bonus: options.WordBonus = None,
    hotwords: options.HotWordPhrases = None,
    beam: options.Beam = None,
    n_best: options.NBest = 1,
    jobs: Annotated[
        int | None, typer.Option(help="Files transcribed at the same time. Default: one per processor core.", min=1)
    ] = None,
    threads: options.Threads = 1,
) -> None:
    """Transcribe audio files.

    FILE is an audio file of any sample rate and length, a folder of audio files, or - for standard input. Several files
    give lines of "FILE<TAB>text". Files that cannot be read do not stop the others: they are listed at the end, and the
    exit status is 2.

    \b
    Examples:
      velocity-asr transcribe speech.wav
      velocity-asr transcribe talk.flac --format srt > talk.srt
      ffmpeg -i film.mkv -f wav - | velocity-asr transcribe - --format vtt
      velocity-asr transcribe --input-dir recordings --output-dir transcripts --format json
      velocity-asr transcribe call.wav --lm calls.lm --hotwords "Anneliese,Kowalczyk"
    """
    from velocity.commands.decoder import decoder_from
    from velocity.commands.transcribe import find_sources, output_paths, transcribe_files, usable_cores

    if n_best > 1 and format is not Format.JSON:
        raise VelocityError(f"--n-best {n_best}: alternatives need --format json")
    sources = find_sources(files or [], input_dir)
    if not sources:
        raise VelocityError("nothing to transcribe: give audio files, or a folder with --input-dir")
    if format in (Format.SRT, Format.VTT) and len(sources) > 1 and output_dir is None:
        raise VelocityError(f"{format} subtitles of {len(sources)} files need a folder: add --output-dir D")
    targets = output_paths(sources, output_dir, format) if output_dir else None
    recogniser = options.load(model, quantized, threads, lm)
    recogniser.decoder = decoder_from(recogniser, lm_weight, word_bonus, hotwords, beam, n_best)
    failures = transcribe_files(recogniser, sources, targets, format, jobs or usable_cores())
    if len(sources) == 1 and failures:
        raise VelocityError(failures[0])
    if failures:
        summary = f"{len(failures)} of {len(sources)} files could not be transcribed:"
        raise VelocityError("\n  ".join([summary, *failures]))
