"""Transcribe an uploaded file as ``velocity-asr transcribe`` does."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Event
from typing import BinaryIO

from velocity.audio import SAMPLE_RATE, claimed_seconds, read_blocks
from velocity.commands.formats import Transcript
from velocity.commands.transcribe import listen
from velocity.errors import VelocityError
from velocity.reading.names import AUDIO_SUFFIXES
from velocity.recognition.offline import Passage, VelocityASR
from velocity.server.failures import RequestError

FORMATS = ", ".join(sorted(suffix.removeprefix(".") for suffix in AUDIO_SUFFIXES))


class Abandoned(Exception):
    """The client has gone."""


def with_hotwords(model: VelocityASR, hotwords: Mapping[str, float]) -> VelocityASR:
    """The model, or for ``hotwords`` a copy with a decoder of its own."""
    if not hotwords:
        return model
    own = copy.copy(model)  # shares the network and the language model
    own.decoder = model.new_decoder(hotwords)
    return own


def transcribe_upload(
    model: VelocityASR, upload: BinaryIO, longest: float, on_text: Callable[[str], None] | None, abandoned: Event
) -> Transcript:
    """Transcribe an upload through a temporary file whose name does not depend on the client.

    ``on_text`` receives the text piece by piece. Raises RequestError, 400 when the upload is not audio and 413 when it
    is longer than ``longest`` seconds, and Abandoned.
    """
    separator, transcript = "", None

    def after(passage: Passage) -> None:
        nonlocal separator
        if abandoned.is_set():
            raise Abandoned
        if on_text and passage.text:
            on_text(separator + passage.text)
            separator = " "

    with NamedTemporaryFile(prefix="velocity-asr-") as file:
        shutil.copyfileobj(upload, file)
        file.flush()
        try:
            _refuse_long(Path(file.name), longest, abandoned)
            transcript = listen(model, Path(file.name), after=after, name="file", longest=longest)
            transcript.passages = list(transcript.passages)
        except VelocityError as error:
            if transcript is not None and transcript.seconds > longest:
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), "file") from error
            reason = str(error).replace(file.name, "file")
            if "cannot be read as audio" in reason:
                reason += f"; formats that are read: {FORMATS}"
            raise RequestError(HTTPStatus.BAD_REQUEST, reason, "file", "invalid_audio") from error
    return transcript


def _refuse_long(path: Path, longest: float, abandoned: Event) -> None:
    """Before any text: by the header, or by counting the samples where it claims too much or nothing. If it claims too
    little, reading stops in time."""
    if 0 < claimed_seconds(path) <= longest:
        return
    samples = 0
    for block in read_blocks(path):
        samples += len(block)
        if samples > longest * SAMPLE_RATE:
            message = f"the audio is too long: at most {longest:g} s"
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, "file")
        if abandoned.is_set():
            raise Abandoned
