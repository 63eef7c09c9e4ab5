"""Clients as they are and as they should not be, and a server process to talk to."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PROJECT = Path(__file__).parents[2]
FORM = "/v1/audio/transcriptions"
BORDER = "border"


class Process:
    """``velocity-asr serve`` on a free port, its temporary files in a folder of its own."""

    def __init__(self, model: Path, folder: Path, *options: object) -> None:
        self.folder = folder / "temporary"
        self.folder.mkdir()
        command = [sys.executable, "-m", "velocity.cli", "serve", "--port", "0", "--model", model, *options]
        self.log = open(folder / "log", "w+", encoding="utf-8")  # noqa: SIM115  (as long as the process)
        environment = os.environ | {"TMPDIR": str(self.folder), "PYTHONPATH": str(PROJECT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": self.log, "text": True}
        self.process = subprocess.Popen(list(map(str, command)), cwd=folder, env=environment, **pipes)
        self.port = int(re.fullmatch(r"tones on http://127\.0\.0\.1:(\d+)/v1\n", self.process.stdout.readline())[1])
        self.before = set(os.listdir(self.folder))  # what onnxruntime writes
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def left_behind(self) -> set[str]:
        return set(os.listdir(self.folder)) - self.before

    def transcribe(self, audio: bytes, name: str = "a.wav", **fields: str | list[str]) -> httpx.Response:
        return self.client.post(FORM, files={"file": (name, audio)}, data=fields)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self) -> int:
        """The exit status."""
        self.client.close()
        self.process.terminate()
        status = self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
        return status


@contextmanager
def serving(model: Path, folder: Path, *options: object) -> Iterator[Process]:
    process = Process(model, folder, *options)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.stop()


def form(audio: bytes, name: str = "a.wav") -> bytes:
    """The body of a request, as a browser writes it."""
    head = f'--{BORDER}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + audio + f"\r\n--{BORDER}--\r\n".encode()


def head(length: int | None) -> bytes:
    """The head of a request; without a length the body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = f"Content-Type: multipart/form-data; boundary={BORDER}"
    return f"POST {FORM} HTTP/1.1\r\nHost: x\r\n{kind}\r\n{size}\r\n\r\n".encode()


def answer(connection: socket.socket) -> bytes:
    """What the server sends until it closes the connection or has answered."""
    received = b""
    while b"\r\n\r\n" not in received or len(received.split(b"\r\n\r\n", 1)[1]) < _length(received):
        if not (piece := connection.recv(65536)):
            break
        received += piece
    return received


def _length(received: bytes) -> int:
    return int(re.search(rb"content-length: (\d+)", received)[1])
