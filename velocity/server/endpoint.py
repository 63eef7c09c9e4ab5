"""``POST /v1/audio/transcriptions``, from the first byte of the upload to the last of the answer."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from velocity.server.events import Events
from velocity.server.failures import RequestError
from velocity.server.request import read_wishes
from velocity.server.responses import answer
from velocity.server.service import Service
from velocity.server.transcribe import hear, with_decoder
from velocity.server.uploads import received_form


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
                    model = with_decoder(service.model, service.decoding, wishes.hotwords)
                    say = events.say if wishes.stream else None
                    work = partial(hear, model, wishes.file.file, service.limits.seconds, say)
                    transcript = await service.queue.run(work, receive)
        except (RequestError, ClientDisconnect) as error:
            if not events.begun:
                raise
            await events.end({"error": error.told if isinstance(error, RequestError) else None})
            return
        took = time.perf_counter() - started
        print(f"{transcript.seconds:.1f} s of audio in {took:.2f} s", file=sys.stderr)  # no word of what was said
        if wishes.stream:
            await events.end({"type": "transcript.text.done", "text": transcript.text})
            return
        await answer(transcript, wishes, service.model.tokenizer.encode)(scope, receive, send)
