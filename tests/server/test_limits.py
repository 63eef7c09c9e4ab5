"""The queue, the limits of time and the connection, each alone in this process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse

from tests.server.clients import BORDER, form
from velocity.server import http
from velocity.server.failures import RequestError
from velocity.server.uploads import Limits, LingeringClose, received_form
from velocity.server.work import Queue


async def stays() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def goes() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def test_a_client_that_goes_ends_its_work_and_its_file_lives_as_long() -> None:
    queue, signalled, ended = Queue(jobs=1, waiting=1), [], []

    def work(abandoned: threading.Event) -> None:
        signalled.append(abandoned.wait(30))
        ended.append(True)

    async def main() -> None:
        with pytest.raises(ClientDisconnect):
            await queue.run(work, goes)
        assert ended == [True]

    asyncio.run(main())
    assert signalled == [True]


def test_work_that_has_not_begun_when_its_client_goes_never_begins() -> None:
    queue, begun, release = Queue(jobs=1, waiting=1), [], threading.Event()

    async def main() -> None:
        first = asyncio.create_task(queue.run(lambda abandoned: release.wait(30), stays))
        await asyncio.sleep(0)
        with pytest.raises(ClientDisconnect):
            await queue.run(lambda abandoned: begun.append(True), goes)
        release.set()
        assert await first
        assert await queue.run(lambda abandoned: "next", stays) == "next"

    asyncio.run(main())
    assert begun == []


def test_a_server_that_is_cut_short_waits_for_its_thread() -> None:
    queue, ended = Queue(jobs=1, waiting=1), []

    def work(abandoned: threading.Event) -> None:
        ended.append(abandoned.wait(30))

    async def main() -> None:
        task = asyncio.create_task(queue.run(work, stays))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(main())


BODY = form(b"sound" * 100)
SLOW = {"a pause": Limits(pause_seconds=0.05), "drop by drop": Limits(upload_seconds=0.05)}


@pytest.mark.parametrize("case", SLOW)
def test_slow_uploads_end(case: str) -> None:
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        await asyncio.sleep(3600 if case == "a pause" and sent > 1 else 0.001)
        return {"type": "http.request", "body": BODY[sent - 1 : sent], "more_body": True}

    async def main() -> None:
        async with received_form(request(receive), SLOW[case]):
            raise AssertionError("that was no whole form")

    with pytest.raises(RequestError, match="too slow") as refused:
        asyncio.run(main())
    assert refused.value.status == 408
    assert sent < len(BODY)


def request(receive: Any) -> Request:
    headers = [(b"content-type", f"multipart/form-data; boundary={BORDER}".encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/models HTTP/1.1\r\nHost:"])
def test_headers_that_do_not_come_close_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEADER_SECONDS", 0.1)

    async def main() -> bytes:
        server, listener = http.server(_answer), http.bind("127.0.0.1", 0)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        for _ in range(2):  # a whole request, and another on the same connection
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"answered")
        writer.close()
        server.should_exit = True
        await task
        return received

    assert asyncio.run(main()) == b""


async def _answer(scope: dict, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await LingeringClose(PlainTextResponse("answered"))(scope, receive, send)
