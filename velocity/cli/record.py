"""The command that records speech to train and to test on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app


@app.command()
def record(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the recordings go; made if it does not exist.")
    ],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Sentences to read, one per line, in UTF-8. Default: 160 sentences from old novels that come with "
            "the package and cover the sounds of English.",
            metavar="FILE",
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(help="Minutes of speech to record in all.", min=0.1)] = 10.0,
    device: Annotated[
        str | None,
        typer.Option(
            help="The microphone: its number or a part of its name, as listed by `python -m sounddevice`. Default: the "
            "system's.",
            metavar="D",
        ),
    ] = None,
    speaker: Annotated[
        str, typer.Option(help="A name for the person who reads: letters, digits and _.", metavar="NAME")
    ] = "me",
) -> None:
    """Record your own speech: read sentences from the screen.

    Enter starts a take; Enter ends it, or 1.5 s of silence (3 s while the sentence can hardly be over). r repeats the
    last sentence, s skips one, q stops. A take that is empty, cut off, clipped or too quiet is not kept. Each take is
    on the disk as soon as it is made, and the same command continues with the next sentence.

    FOLDER gets FLAC files and transcripts in LibriSpeech's layout: a test set for evaluate, and speech to train on
    (kind: folder). Needs the extra: pip install 'velocity-asr[microphone]'.

    \b
    Examples:
      velocity-asr record speech/mine
      velocity-asr record speech/mine --speaker anna --minutes 20 --prompts sentences.txt
      velocity-asr evaluate --test-set speech/mine
      velocity-asr adapt speech/mine --out my-model
    """
    from velocity.commands.record import SHIPPED, Terminal, read_prompts, session
    from velocity.commands.recordings import Recordings

    sentences = read_prompts(prompts or SHIPPED)
    user = Terminal()
    recordings = Recordings(folder, speaker)
    try:
        session(recordings, sentences, minutes, device, user)
    finally:
        recordings.remove_if_empty()
