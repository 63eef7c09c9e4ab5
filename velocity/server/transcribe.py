"""From an uploaded file to a transcript, as ``velocity-asr transcribe`` makes it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Event
from typing import Any, BinaryIO

from velocity.audio import SAMPLE_RATE, claimed_seconds, read_blocks
from velocity.commands.formats import Transcript
from velocity.commands.transcribe import listen
from velocity.errors import VelocityError
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.offline import Passage, VelocityASR
from velocity.server.failures import RequestError


class Abandoned(Exception):
    """Nobody waits for the answer."""


def with_decoder(model: VelocityASR, decoding: Mapping[str, Any], hotwords: Mapping[str, float]) -> VelocityASR:
    """The model with a decoder of its own; ``decoding`` are the decoder's other arguments."""
    own = copy.copy(model)  # the network is everybody's
    own.decoder = Decoder(model.tokenizer, model.config["frame_seconds"], hotwords=hotwords or None, **decoding)
    return own


def hear(
    model: VelocityASR, upload: BinaryIO, longest: float, say: Callable[[str], None] | None, abandoned: Event
) -> Transcript:
    """Transcribe an upload from a temporary file whose name owes nothing to the client's.

    ``say`` hears the text bit by bit. Raises RequestError, 400 when it is no audio and 413 when it has more than
    ``longest`` seconds, and Abandoned.
    """
    said = False

    def after(passage: Passage) -> None:
        nonlocal said
        if abandoned.is_set():
            raise Abandoned
        if say and passage.text:
            say(f" {passage.text}" if said else passage.text)
            said = True

    with NamedTemporaryFile(prefix="velocity-asr-") as file:
        shutil.copyfileobj(upload, file)
        file.flush()
        try:
            _refuse_long(Path(file.name), longest, abandoned)
            transcript = listen(model, Path(file.name), after=after)
            transcript.passages = list(transcript.passages)
        except VelocityError as error:
            reason = str(error).replace(file.name, "file")
            raise RequestError(HTTPStatus.BAD_REQUEST, reason, "file", "invalid_audio") from error
    return transcript


def _refuse_long(path: Path, longest: float, abandoned: Event) -> None:
    """No reader gives more than a header claims, but a header may claim more than there is, or nothing."""
    if 0 < claimed_seconds(path) <= longest:
        return
    samples = 0
    for block in read_blocks(path):
        samples += len(block)
        if samples > longest * SAMPLE_RATE:
            told = f"the audio is too long: at most {longest:g} s"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told, "file")
        if abandoned.is_set():
            raise Abandoned
