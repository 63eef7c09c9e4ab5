"""``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from velocity.recognition.offline import VelocityASR
from velocity.server.events import Events
from velocity.server.failures import RequestError
from velocity.server.request import parse_request
from velocity.server.responses import response
from velocity.server.transcribe import transcribe_upload, with_hotwords
from velocity.server.uploads import Limits, received_form
from velocity.server.work import Queue

MODEL = b"openai-model"  # a header, as in OpenAI's responses


@dataclass(frozen=True)
class Service:
    """What all requests share."""

    model: VelocityASR
    limits: Limits
    queue: Queue

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return str(self.model.config.get("name") or self.model.folder.name)

    @property
    def created(self) -> int:
        """When the model's file was written, in seconds since 1970."""
        return int((self.model.folder / "model.onnx").stat().st_mtime)


@dataclass(frozen=True)
class Transcriptions:
    """The ASGI application of this path."""

    service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, started = self.service, time.perf_counter()

        async def named(message: Message) -> None:
            """With the model served, whichever name the client has for it."""
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (MODEL, service.name.encode("ascii", "backslashreplace"))]
            await send(message)

        events = Events(named)
        try:
            # The place is free again before the response is sent, which a client may read slowly.
            with service.queue.place():
                async with received_form(Request(scope, receive), service.limits) as form:
                    request = parse_request(form)
                    if request.file.size > service.limits.file_bytes:
                        raise service.limits.too_large()
                    model = with_hotwords(service.model, request.hotwords)
                    on_text = events.send_text if request.stream else None
                    work = partial(transcribe_upload, model, request.file.file, service.limits.seconds, on_text)
                    transcript = await service.queue.run(work, receive)
        except (RequestError, ClientDisconnect) as error:
            if not events.started:
                raise
            await events.end({"error": error.body if isinstance(error, RequestError) else None})
            return
        took = time.perf_counter() - started
        print(f"{transcript.seconds:.1f} s of audio in {took:.2f} s", file=sys.stderr)  # never the text
        if request.stream:
            await events.end({"type": "transcript.text.done", "text": transcript.text})
            return
        await response(transcript, request, service.model.tokenizer.encode)(scope, receive, named)
