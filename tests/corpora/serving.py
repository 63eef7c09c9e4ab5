"""A web server on the loopback that serves archives, and misbehaves as told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", bytes, int], None]


class Server(ThreadingHTTPServer):
    """``files``: path → bytes. ``behaviours`` are used up one a request; afterwards it serves as it should."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviours: list[Behaviour] = []
        self.with_ranges = True
        self.with_etag = True
        self.requests: list[tuple[str, str | None]] = []  # path, Range
        self.before: Callable[[], None] = lambda: None  # called at each request
        self.released = threading.Event()  # ends what stalls

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        pass  # clients that are killed or lose patience


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.before()
        requested = self.headers.get("Range")
        self.server.requests.append((self.path, requested))
        data = self.server.files.get(self.path)
        if data is None:
            return self.answer(404, b"no such archive")
        validator = self.headers.get("If-Range")
        start = 0
        if requested and self.server.with_ranges and validator in (None, etag(data)):
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        behaviour = self.server.behaviours.pop(0) if self.server.behaviours else send
        return behaviour(self, data, start)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body) if length is None else length), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def begin(self, data: bytes, start: int, body: bytes, length: int | None = None) -> None:
        """The headers of a right answer and ``body``, be it the whole of it or not."""
        headers = {"ETag": etag(data)} if self.server.with_etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(206 if start else 200, body, headers, len(data) - start if length is None else length)


def etag(data: bytes) -> str:
    return f'"{sha256(data).hexdigest()[:16]}"'


def send(handler: Handler, data: bytes, start: int) -> None:
    handler.begin(data, start, data[start:])


def cut(after: int) -> Behaviour:
    """Hang up after so many bytes."""

    def behave(handler: Handler, data: bytes, start: int) -> None:
        handler.begin(data, start, data[start : start + after])
        handler.close_connection = True

    return behave


def stall(after: int) -> Behaviour:
    """Say nothing more after so many bytes, and keep the connection."""

    def behave(handler: Handler, data: bytes, start: int) -> None:
        handler.begin(data, start, data[start : start + after])
        handler.server.released.wait(60)
        handler.close_connection = True

    return behave


def refuse(status: int) -> Behaviour:
    return lambda handler, data, start: handler.answer(status, b"not now")


def encoded(handler: Handler, data: bytes, start: int) -> None:
    """Call a gzip file a transfer that is gzipped on the way, as some servers do."""
    handler.answer(200, data, {"Content-Encoding": "gzip"})


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
