"""From an uploaded file to what was said, as ``velocity-asr transcribe`` hears it."""

from __future__ import annotations

import copy
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from tempfile import NamedTemporaryFile
from threading import Event
from typing import Any, BinaryIO

import numpy as np

from velocity.audio import SAMPLE_RATE, claimed_seconds, read_blocks
from velocity.decoding import Decoder
from velocity.errors import VelocityError
from velocity.runtime import Passage, VelocityASR
from velocity.server.errors import RequestError


class Abandoned(Exception):
    """Nobody waits for the answer."""


class Hearing:
    """The recognition of one upload."""

    def __init__(
        self, model: VelocityASR, decoding: Mapping[str, Any], hotwords: Mapping[str, float], longest: float
    ) -> None:
        """``decoding`` are arguments of ``Decoder`` beside the tokenizer's; ``longest`` is in seconds."""
        decoder = Decoder(model.tokenizer, model.config["frame_seconds"], hotwords=hotwords or None, **decoding)
        self.model = copy.copy(model)  # the network is everybody's, the decoder this upload's own
        self.model.decoder = decoder
        self.longest, self.samples = longest, 0

    @property
    def seconds(self) -> float:
        """Of audio that was read so far."""
        return self.samples / SAMPLE_RATE

    def passages(self, upload: BinaryIO, abandoned: Event) -> Iterator[Passage]:
        """Yield what is said, read from a temporary file whose name owes nothing to the client's.

        Raises RequestError, 400 when it is no audio and 413 when it lasts too long, and Abandoned.
        """
        with NamedTemporaryFile(prefix="velocity-asr-") as file:
            shutil.copyfileobj(upload, file)
            file.flush()
            try:
                if not 0 < claimed_seconds(file.name) <= self.longest:  # what a header claims is not what there is
                    deque(self._blocks(file.name, abandoned), maxlen=0)
                yield from self.model.passages(self._blocks(file.name, abandoned))
            except VelocityError as error:
                reason = str(error).replace(file.name, "file")
                raise RequestError(HTTPStatus.BAD_REQUEST, reason, "file", "invalid_audio") from error

    def _blocks(self, path: str, abandoned: Event) -> Iterator[np.ndarray]:
        self.samples = 0
        for block in read_blocks(path):
            self.samples += len(block)
            if self.seconds > self.longest:
                told = f"the audio is too long: at most {self.longest:g} s"
                raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told, "file")
            if abandoned.is_set():
                raise Abandoned
            yield block
