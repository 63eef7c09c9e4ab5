"""Receive a multipart form; refuse it as soon as it is too large, too slow or malformed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import python_multipart  # noqa: F401  (otherwise its absence shows only when a form arrives)
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from velocity.server.failures import RequestError

MEGABYTE = 2**20
FIELDS_BYTES = MEGABYTE // 4  # of a form without its file: fields, headers, boundaries
FIELD_BYTES = MEGABYTE // 16
FIELDS = 64
LINGER_SECONDS = 2.0  # how long a refused client may go on sending


@dataclass(frozen=True)
class Limits:
    """Limits on one request."""

    file_bytes: int = 25 * MEGABYTE
    seconds: float = 3600.0  # of audio
    pause_seconds: float = 15.0  # without a byte of an upload
    upload_seconds: float = 300.0

    def too_large(self) -> RequestError:
        message = f"the file is too large: at most {self.file_bytes / MEGABYTE:g} MB"
        return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, "file")


@asynccontextmanager
async def received_form(request: Request, limits: Limits) -> AsyncIterator[FormData]:
    """Yield the fields and the one file of a multipart request. The file is in memory or an unnamed temporary file,
    and is deleted when the block ends.

    Raises RequestError (400, 408, 413, 415), and ClientDisconnect when the client has gone.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.file_bytes + FIELDS_BYTES:
        raise limits.too_large()
    parser = MultiPartParser(
        request.headers, _body(request.receive, limits), max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES
    )
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:  # some of Python's codecs raise UnicodeError
        reason = getattr(error, "message", "its text has an unknown encoding")
        raise RequestError(HTTPStatus.BAD_REQUEST, f"the form cannot be read: {reason}") from error
    try:
        yield form
    finally:
        await form.close()


async def _body(receive: Receive, limits: Limits) -> AsyncIterator[bytes]:
    received, more = 0, True
    clock = asyncio.get_running_loop().time
    deadline = clock() + limits.upload_seconds
    while more:
        try:
            async with asyncio.timeout(min(limits.pause_seconds, deadline - clock())):
                message = await receive()
        except TimeoutError as error:
            raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "the upload is too slow") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        body, more = message.get("body", b""), message.get("more_body", False)
        received += len(body)
        if received > limits.file_bytes + FIELDS_BYTES:
            raise limits.too_large()
        yield body


class LingeringClose:
    """Read on after refusing an upload: closing with unread bytes resets the connection and loses the response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        unread = scope["type"] == "http" and not names.isdisjoint({b"content-length", b"transfer-encoding"})

        async def received() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif unread and not message.get("more_body", False):
                await send(message | {"more_body": True})
                await drain()
                message = {"type": "http.response.body"}
            await send(message)

        async def drain() -> None:
            try:
                async with asyncio.timeout(LINGER_SECONDS):
                    while unread:
                        await received()
            except TimeoutError:
                pass

        await self.app(scope, received, sent)
