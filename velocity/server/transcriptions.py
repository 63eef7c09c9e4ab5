"""``POST /v1/audio/transcriptions``, from the first byte of the upload to the last of the answer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import BinaryIO

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from velocity.commands.formats import Transcript
from velocity.decoding import segments
from velocity.runtime import Passage
from velocity.server.answers import answer
from velocity.server.errors import RequestError
from velocity.server.events import Events
from velocity.server.recognition import Hearing
from velocity.server.service import Service
from velocity.server.uploads import received_form
from velocity.server.wishes import read_wishes


@dataclass(frozen=True)
class Transcriptions:
    """The ASGI application of the one path."""

    service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, started, events = self.service, time.perf_counter(), Events(send)
        try:
            # A client that reads its answer slowly gives its place back before.
            with service.queue.place():
                async with received_form(Request(scope, receive), service.limits) as form:
                    wishes = read_wishes(form, service.name)
                    if wishes.file.size > service.limits.file_bytes:
                        raise service.limits.too_large()
                    hearing = Hearing(service.model, service.decoding, wishes.hotwords, service.limits.seconds)
                    say = events.say if wishes.stream else None
                    passages = await service.queue.run(partial(_hear, hearing, wishes.file.file, say), receive)
        except (RequestError, ClientDisconnect) as error:
            if not events.begun:
                raise
            await events.end({"error": error.told if isinstance(error, RequestError) else None})
            return
        took, text = time.perf_counter() - started, " ".join(passage.text for passage in passages if passage.text)
        print(f"{hearing.seconds:.1f} s of audio in {took:.2f} s", file=sys.stderr)  # no word of what was said
        if wishes.stream:
            await events.end({"type": "transcript.text.done", "text": text})
            return
        words = [word for passage in passages for word in passage.words]
        cues = segments(words, hearing.seconds)
        transcript = Transcript("file", text, hearing.seconds, took / hearing.seconds, cues)
        await answer(transcript, words, wishes, service.model.tokenizer.encode)(scope, receive, send)


def _hear(hearing: Hearing, upload: BinaryIO, say: Callable[[str], None] | None, abandoned: Event) -> list[Passage]:
    """All passages; ``say`` hears the text of each as soon as it is recognised."""
    passages: list[Passage] = []
    for passage in hearing.passages(upload, abandoned):
        if say and passage.text:
            said_before = any(earlier.text for earlier in passages)
            say(f" {passage.text}" if said_before else passage.text)
        passages.append(passage)
    return passages
