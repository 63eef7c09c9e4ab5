"""From an uploaded file to a transcript, as ``velocity-asr transcribe`` makes it."""

from __future__ import annotations

import shutil
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

import soundfile

from velocity.commands.formats import Transcript
from velocity.commands.transcribe import transcribe
from velocity.errors import VelocityError
from velocity.runtime import VelocityASR
from velocity.server.errors import RequestError

BLOCK = 2**16  # samples


def recognise(model: VelocityASR, upload: BinaryIO, longest: float) -> Transcript:
    """Transcribe an upload from a temporary file whose name owes nothing to the client's.

    Raises RequestError: 400 when it is no audio, 413 when it lasts more than ``longest`` seconds.
    """
    with NamedTemporaryFile(prefix="velocity-asr-") as file:
        shutil.copyfileobj(upload, file)
        file.flush()
        try:
            if lasts_longer(file.name, longest):
                raise RequestError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the audio is too long: at most {longest:g} s", "file"
                )
            return transcribe(model, Path(file.name))
        except VelocityError as error:
            reason = str(error).replace(file.name, "file")
            raise RequestError(HTTPStatus.BAD_REQUEST, reason, "file", "invalid_audio") from error


def lasts_longer(path: str, longest: float) -> bool:
    """Whether an audio file has more than ``longest`` seconds; what its header says counts only when it says less.

    A file that cannot be read has none.
    """
    try:
        with soundfile.SoundFile(path) as file:
            most = int(longest * file.samplerate)
            if file.frames <= most:  # no more than that is ever read
                return False
            read = 0
            while read <= most and (block := len(file.read(BLOCK, dtype="float32"))):
                read += block
            return read > most
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        return False
