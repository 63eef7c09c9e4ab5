"""The web bundle and ONNX Runtime Web in one folder, and a server of it for this machine alone."""

from __future__ import annotations

import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from velocity.artefacts.web_bundle import PAGE, bundle
from velocity.artefacts.web_runtime import web_runtime
from velocity.errors import VelocityError
from velocity.files import atomic_directory, check_replaceable

POLICY = re.search(r'content="(default-src[^"]+)"', (PAGE / "index.html").read_text(encoding="utf-8"))[1]
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    # Threads of WebAssembly share memory, which browsers allow to isolated pages only.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    "": "application/octet-stream",
}


def write_site(artefact: Path, folder: Path) -> None:
    """Everything that browsers need to run the ONNX model ``artefact``, in ``folder``, which is replaced.

    Raises VelocityError when ``artefact`` is none of whole utterances, ONNX Runtime Web cannot be had, or ``folder``
    holds something else.
    """
    check_replaceable(folder, "config.json")
    runtime = web_runtime()
    with atomic_directory(folder) as partial_folder:
        bundle(artefact, partial_folder)
        shutil.copytree(runtime, partial_folder / "ort")


class Site(ThreadingHTTPServer):
    """Serves the files of ``folder`` on 127.0.0.1; port 0 is any free one. Raises VelocityError when it is taken."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), partial(_Handler, directory=str(folder)))
        except OSError as error:
            reason = f"127.0.0.1:{port}: cannot listen there ({error.strerror}); choose another --port"
            raise VelocityError(reason) from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, *_: object) -> None:
        pass  # a browser that was closed


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def guess_type(self, path: str) -> str:
        return TYPES.get(Path(path).suffix, TYPES[""])

    def list_directory(self, path: str) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass
