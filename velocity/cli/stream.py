"""The command that recognises live sound."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app
from velocity.cli.options import Model, Quantized, Threads
from velocity.errors import VelocityError


class StreamFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


@app.command()
def stream(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE|-", show_default=False, help="- is raw 16-bit PCM on stdin.")
    ] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Listen to the default microphone.")] = False,
    model: Model = None,
    quantized: Quantized = True,
    format: Annotated[
        StreamFormat, typer.Option(help="text: a line an utterance; json: an object an event.")
    ] = StreamFormat.TEXT,
    rate: Annotated[int, typer.Option(help="Of stdin, in Hz.", min=4000, max=192_000)] = 16_000,
    channels: Annotated[int, typer.Option(help="Of stdin, interleaved; they are averaged.", min=1, max=8)] = 1,
    chunk_ms: Annotated[int, typer.Option(help="How much sound is taken at a time.", min=10, max=10_000)] = 320,
    pause: Annotated[float, typer.Option(help="Seconds without a letter that end an utterance.", min=0.25)] = 1.2,
    fast: Annotated[bool, typer.Option("--fast", help="Do not wait for FILE to be spoken.")] = False,
    threads: Threads = 1,
) -> None:
    """Turn live speech into text: a microphone, raw samples on stdin, or a file played as if it were spoken now.

    Of your own models it takes causal ones (model.direction: causal), exported with --target onnx-streaming or
    onnx-streaming-int8; without --model, this project's, or else the shipped one. A word that is shown as stable is
    never taken back. Ctrl-C ends with what was said last.

    \b
    Examples:
      velocity-asr stream --microphone
      arecord -q -f S16_LE -r 16000 -t raw | velocity-asr stream - --format json
      velocity-asr stream talk.flac --model models/export
    """
    from velocity.commands.stream import (
        file_pieces,
        listen,
        load,
        microphone_pieces,
        raw_pieces,
        write_json,
        write_text,
    )
    from velocity.recognition.streaming import Endpoint

    if microphone == (file is not None):
        raise VelocityError("nothing to listen to, or too much: name a FILE, - for stdin, or --microphone")
    recogniser = load(model, quantized, threads)
    seconds = chunk_ms / 1000
    if microphone:
        pieces = microphone_pieces(seconds)
    elif str(file) == "-":
        pieces = raw_pieces(sys.stdin.buffer, rate, channels, seconds)
    else:
        pieces = file_pieces(file, seconds, live=not fast)
    listen(recogniser.stream(Endpoint(pause=pause)), pieces, write_json if format == "json" else write_text)
