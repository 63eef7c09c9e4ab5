"""Run the application on a socket until SIGTERM or Ctrl-C; running requests are finished first."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from h11 import IDLE
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from velocity.errors import VelocityError

HEADER_SECONDS = 15.0  # from the connection or the first byte of a request to the end of its headers
CONNECTIONS = 256
GRACE_SECONDS = 60  # for running requests when the server stops


class Connection(H11Protocol):
    """Time out headers: uvicorn waits for them for ever, so a slow client could hold its connection."""

    watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, error: Exception | None) -> None:
        if self.watch:
            self.watch.cancel()
        super().connection_lost(error)

    def _watch_headers(self) -> None:
        if self.conn.their_state is not IDLE:  # they are complete
            if self.watch:
                self.watch.cancel()
            self.watch = None
        elif self.watch is None:
            self.watch = self.loop.call_later(HEADER_SECONDS, self.timeout_keep_alive_handler)


class Server(uvicorn.Server):
    """Exit with success on a signal; uvicorn would raise it again after stopping."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises VelocityError when it cannot listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VelocityError(f"{host}:{port}: cannot listen there ({reason}); choose another --port") from error


def server(app: Starlette) -> Server:
    """The server that runs ``app`` on listening sockets until it is stopped."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # tracebacks, not client errors
    quiet = {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
    limits = {"limit_concurrency": CONNECTIONS, "timeout_graceful_shutdown": GRACE_SECONDS}
    return Server(uvicorn.Config(app, http=Connection, ws="none", lifespan="on", **quiet, **limits))
