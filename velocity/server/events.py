"""Streamed responses: server-sent events as with OpenAI's ``stream=true``."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.types import Send


class Events:
    """The response starts with the first event; until then the request can still be refused."""

    def __init__(self, send: Send) -> None:
        self._send, self._loop = send, asyncio.get_running_loop()
        self._pending: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        return self._writer is not None

    def send_text(self, text: str) -> None:
        """Queue more of the text; callable from any thread, never waits for the client."""
        self._loop.call_soon_threadsafe(self._put, {"type": "transcript.text.delta", "delta": text})

    async def end(self, value: dict[str, Any]) -> None:
        """Send the last event."""
        self._put(value)
        self._pending.put_nowait(None)
        await self._writer

    def _put(self, value: dict[str, Any]) -> None:
        self._pending.put_nowait(f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode())
        if self._writer is None:
            self._writer = self._loop.create_task(self._write())

    async def _write(self) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        while (data := await self._pending.get()) is not None:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})
