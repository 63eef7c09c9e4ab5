"""The commands that answer over HTTP: programs, and browsers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app
from velocity.cli.options import LanguageModel, Model, Quantized, Threads, load
from velocity.errors import VelocityError


@app.command()
def serve(
    model: Model = None,
    quantized: Quantized = True,
    host: Annotated[str, typer.Option(help="The default is reached from this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.", min=0, max=65535)] = 8000,
    jobs: Annotated[
        int | None, typer.Option(help="Recognitions at a time. Default: one a processor.", min=1, show_default=False)
    ] = None,
    threads: Threads = 1,
    lm: LanguageModel = None,
    max_waiting: Annotated[
        int, typer.Option(help="Requests beside those being recognised; more are told to come back (503).", min=0)
    ] = 16,
    max_megabytes: Annotated[float, typer.Option(help="Of a file (2^20 bytes each).", min=0.001)] = 25,
    max_seconds: Annotated[float, typer.Option(help="Of audio in a file.", min=0.1)] = 3600,
) -> None:
    """Answer over HTTP as OpenAI's transcription API does, for the many programs that can talk to it.

    POST /v1/audio/transcriptions, GET /v1/models, GET /health. SIGTERM and Ctrl-C end it when what is being recognised
    is answered.

    \b
    Examples:
      velocity-asr serve
      curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@speech.wav -F response_format=srt
    """
    try:
        from velocity.server.serve import serve as answer
        from velocity.server.service import Service
        from velocity.server.uploads import MEGABYTE, Limits
        from velocity.server.work import Queue
    except ModuleNotFoundError as error:
        raise VelocityError(f"{error.name} is not installed: pip install 'velocity-asr[serve]'") from error
    from velocity.recognition.decoding.ngram import NGram

    limits = Limits(int(max_megabytes * MEGABYTE), max_seconds)
    queue = Queue(jobs or os.cpu_count() or 1, max_waiting)
    decoding = {"lm": NGram(lm)} if lm else {}
    answer(Service(load(model, quantized, threads), limits, queue, decoding), host, port)


@app.command()
def demo(
    model: Annotated[
        str, typer.Option(help="As elsewhere; of whole utterances. INT8, where there is a choice.", metavar="M")
    ] = "velocity-asr-v2",
    port: Annotated[int, typer.Option(help="0: any free one.", min=0, max=65535)] = 8010,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only say where the page is.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write the page, the model and ONNX Runtime Web into this folder, for a web server of yours, and end.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Transcribe in your browser: recordings and the microphone, on this machine alone.

    The first time it fetches ONNX Runtime Web from the npm registry (33 MB). Ctrl-C ends it.

    \b
    Examples:
      velocity-asr demo
      velocity-asr demo --save site
    """
    from velocity.artefacts.site import write_site
    from velocity.commands.demo import demo as show
    from velocity.commands.models import find_artefact

    artefact = find_artefact(model, quantized=True)
    if save:
        write_site(artefact, save)
        print(f"{save}: the page, the model and ONNX Runtime Web")
    else:
        show(artefact, port, not no_browser)
