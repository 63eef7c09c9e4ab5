"""The command that recognises live audio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from velocity.cli.app import app
from velocity.cli.options import LanguageModel, Quantized, Threads
from velocity.errors import VelocityError
from velocity.files import standard_input


@app.command()
def stream(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|-", show_default=False, help="An audio file, or - for raw 16-bit PCM on stdin."),
    ] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Use the default microphone.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="The streaming model, as for transcribe. Default: this project's, if it has one, otherwise "
            "velocity-asr-v2-streaming.",
            metavar="M",
        ),
    ] = None,
    quantized: Quantized = True,
    format: Annotated[
        Literal["text", "json"], typer.Option(help="text: one line per utterance; json: one object per event.")
    ] = "text",
    rate: Annotated[int, typer.Option(help="Sample rate of stdin, in Hz.", min=4000, max=192_000)] = 16_000,
    channels: Annotated[int, typer.Option(help="Interleaved channels of stdin; they are averaged.", min=1, max=8)] = 1,
    chunk_ms: Annotated[int, typer.Option(help="Milliseconds of audio processed at a time.", min=10, max=10_000)] = 320,
    pause: Annotated[float, typer.Option(help="Seconds without speech that end an utterance.", min=0.25)] = 1.2,
    fast: Annotated[
        bool, typer.Option("--fast", help="Process FILE as fast as possible instead of in real time.")
    ] = False,
    lm: LanguageModel = None,
    threads: Threads = 1,
) -> None:
    """Transcribe live audio: a microphone, stdin or a file.

    Needs a streaming model: the shipped velocity-asr-v2-streaming, or a causal model (model.direction: causal) exported
    with --target onnx-streaming or onnx-streaming-int8. Words shown as stable are never taken back while an utterance
    lasts; with a language model the final text may differ from them. Ctrl-C ends the stream and prints the last
    utterance.

    \b
    Examples:
      velocity-asr stream --microphone
      arecord -q -f S16_LE -r 16000 -t raw | velocity-asr stream - --format json
      velocity-asr stream talk.flac --model models/export
    """
    from velocity.commands import stream as live
    from velocity.commands.microphone import pieces as microphone_pieces
    from velocity.recognition.streaming import Endpoint

    if microphone == (file is not None):
        raise VelocityError("exactly one input is needed: name a FILE, - for stdin, or --microphone")
    if str(file) != "-" and (rate, channels) != (16_000, 1):
        raise VelocityError("--rate and --channels apply only to raw audio on stdin")
    if fast and (microphone or str(file) == "-"):
        raise VelocityError("--fast works only with a FILE")
    recogniser = live.load(model, quantized, threads, lm)
    seconds = chunk_ms / 1000
    if microphone:
        pieces = microphone_pieces(seconds)
    elif str(file) == "-":
        pieces = live.raw_pieces(standard_input(), rate, channels, seconds)
    else:
        pieces = live.file_pieces(file, seconds, live=not fast)
    write = live.write_json if format == "json" else live.write_text
    live.listen(recogniser.stream(Endpoint(pause=pause)), pieces, write)
