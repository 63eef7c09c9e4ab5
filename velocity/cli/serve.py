"""The commands that start an HTTP server: the transcription API and the page for browsers."""

from __future__ import annotations

import math
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
    host: Annotated[
        str, typer.Option(help="The address to listen on. The default is reachable from this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port. 0 chooses a free one.", min=0, max=65535)] = 8000,
    jobs: Annotated[
        int | None,
        typer.Option(help="Recognitions at the same time. Default: one per processor core.", min=1, show_default=False),
    ] = None,
    threads: Threads = 1,
    lm: LanguageModel = None,
    max_waiting: Annotated[
        int, typer.Option(help="Requests that may wait; further ones are answered with status 503.", min=0)
    ] = 16,
    max_megabytes: Annotated[float, typer.Option(help="Largest file, in MiB.", min=0.001)] = 25,
    max_seconds: Annotated[float, typer.Option(help="Longest audio, in seconds.", min=0.1)] = 3600,
) -> None:
    """Serve OpenAI's transcription API on this machine.

    POST /v1/audio/transcriptions, GET /v1/models, GET /health. On SIGTERM or Ctrl-C the server answers the requests it
    is working on, then stops.

    \b
    Examples:
      velocity-asr serve
      curl http://127.0.0.1:8000/v1/audio/transcriptions -F file=@speech.wav -F response_format=srt
    """
    try:
        from velocity.commands.transcribe import usable_cores
        from velocity.server.app import serve as run_server
        from velocity.server.endpoint import Service
        from velocity.server.uploads import MEGABYTE, Limits
        from velocity.server.work import Queue
    except ModuleNotFoundError as error:
        raise VelocityError(f"{error.name} is not installed: pip install 'velocity-asr[serve]'") from error

    if not math.isfinite(max_megabytes):
        raise VelocityError(f"--max-megabytes {max_megabytes}: must be a finite number")
    limits = Limits(int(max_megabytes * MEGABYTE), max_seconds)
    queue = Queue(jobs or usable_cores(), max_waiting)
    run_server(Service(load(model, quantized, threads, lm), limits, queue), host, port)


@app.command()
def demo(
    model: Annotated[
        str,
        typer.Option(
            help="The model, as for transcribe, but not a streaming model. Its INT8 version is used if there is one.",
            metavar="M",
        ),
    ] = "velocity-asr-v2",
    port: Annotated[int, typer.Option(help="The port. 0 chooses a free one.", min=0, max=65535)] = 8010,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address of the page.")] = False,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write the page, the model and ONNX Runtime Web to this folder for your own web server, then stop.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Transcribe recordings and the microphone in your browser.

    No audio leaves this machine. The first run downloads ONNX Runtime Web from the npm registry (33 MB). Stop with
    Ctrl-C.

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
