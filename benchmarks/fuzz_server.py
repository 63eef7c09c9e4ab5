"""Fuzz the HTTP server with mutated forms, headers and audio files: no crash, no 500, no hang, nothing left behind.

    python benchmarks/fuzz_server.py --inputs 50000             # the application in a process of its own
    python benchmarks/fuzz_server.py --inputs 5000 --sockets    # raw bytes to a real server on a loopback port

Input i of a seed is always the same: ``--first i --inputs 1`` sends it again. A process that dies is reported with its
input, and the rest goes on in a new one. Exit status 1 when something was found.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import psutil
from hostile_requests import Input, audio_files, draw, mutate

HANGS = 30.0  # seconds that no tiny request may take
PATIENCE = 1.0  # seconds until a client that sent a broken request hangs up
GROWTH = 16e6  # bytes of memory that may come after a fifth of the inputs


class Application:
    """The application called directly: what arrives in which pieces is ours to say."""

    def __init__(self, model: str | None) -> None:
        from velocity.cli.options import load
        from velocity.server.app import application
        from velocity.server.endpoint import Service
        from velocity.server.uploads import Limits
        from velocity.server.work import Queue

        self.service = Service(load(model, True, 1), Limits(file_bytes=2**17, seconds=60), Queue(jobs=1, waiting=4))
        self.app = application(self.service)

    async def send(self, request: Input, chance: Random) -> str:
        """The status, or that the client went away. Raises whatever the application lets out."""
        cuts = sorted(chance.randrange(len(request.body) + 1) for _ in range(chance.choice([0, 0, 1, 7])))
        pieces = [request.body[a:b] for a, b in zip([0, *cuts], [*cuts, len(request.body)], strict=True)]
        stays = chance.random() < 0.9
        length = chance.choice([0, 10**12, "x"]) if chance.random() < 0.05 else len(request.body)
        declared = [(b"content-type", request.content_type), (b"content-length", str(length).encode())]
        answers: list[dict] = []

        async def arriving() -> AsyncIterator[dict]:
            for n, piece in enumerate(pieces if stays else pieces[:-1], start=1):
                yield {"type": "http.request", "body": piece, "more_body": n < len(pieces)}
            if stays:
                await asyncio.sleep(HANGS)

        messages = arriving()

        async def receive() -> dict:
            return await anext(messages, {"type": "http.disconnect"})

        async def send(message: dict) -> None:
            answers.append(message)

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method}
        scope |= {"path": request.path, "raw_path": request.path.encode(), "query_string": b"", "root_path": ""}
        scope |= {"headers": [*declared, *request.headers], "scheme": "http", "server": ("x", 80), "client": ("x", 1)}
        async with asyncio.timeout(HANGS):
            await self.app(scope, receive, send)
        if self.service.queue.taken:
            raise AssertionError("a place is not given back")
        body = b"".join(answer.get("body", b"") for answer in answers[1:])
        check(answers[0]["status"], b"" if request.method == "HEAD" else body)
        return str(answers[0]["status"]) if stays else "gone"


def check(status: int, body: bytes) -> None:
    """An answer is a success, or it says in OpenAI's shape what is wrong with the request."""
    if status >= 500 or (status >= 400 and body and set(json.loads(body)) != {"error"}):
        raise AssertionError(f"{status} {body[:300]!r}")


def call(inputs: range, options: Namespace, folder: str, state: Any, found: Any) -> None:
    """Send ``inputs`` to the application in this process; ``state`` is the input, then the memory after each tenth."""
    tempfile.tempdir = folder
    for stream in (1, 2):  # the log of the server and of libsndfile's codecs
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    application, files, loop = Application(options.model), audio_files(options.leave_out), asyncio.new_event_loop()
    for count, index in enumerate(inputs):
        state[0] = index
        request, chance = draw(options.seed, index, files)
        started = time.monotonic()
        try:
            found.put((index, loop.run_until_complete(application.send(request, chance)), None))
        except Exception as error:
            found.put((index, "FOUND", f"{type(error).__name__}: {error}"))
        if time.monotonic() - started > HANGS / 2:
            found.put((index, "FOUND", f"took {time.monotonic() - started:.0f} s"))
        if left := os.listdir(folder):
            found.put((index, "FOUND", f"left {left} behind"))
        if (count + 1) * 10 // len(inputs) > count * 10 // len(inputs):
            state[(count + 1) * 10 // len(inputs)] = psutil.Process().memory_info().rss


def in_process(inputs: range, options: Namespace) -> Iterator[tuple[int, str, str | None]]:
    """Yield (input, status, what is wrong) of the application in processes of its own."""
    context = multiprocessing.get_context("spawn")
    while inputs:
        state, found = context.Array("q", [inputs[0], *[0] * 10]), context.SimpleQueue()
        with tempfile.TemporaryDirectory() as folder:
            process = context.Process(target=call, args=(inputs, options, folder, state, found))
            process.start()
            while process.is_alive() or not found.empty():
                if found.empty():
                    time.sleep(0.01)
                else:
                    yield found.get()
            process.join()
        if process.exitcode:
            yield state[0], "FOUND", f"the process died with {process.exitcode}"
            inputs = range(state[0] + 1, inputs.stop)
            continue
        yield from grown(inputs[-1], state[1:])
        return


def grown(index: int, tenths: list[int]) -> Iterator[tuple[int, str, str | None]]:
    """What is wrong with the memory after each tenth of the inputs; the first two are the warming up."""
    print(f"memory, MB: {', '.join(f'{size / 1e6:.0f}' for size in tenths)}", file=sys.stderr)
    if min(tenths) > 0 and tenths[-1] - tenths[1] > GROWTH:
        yield index, "FOUND", f"memory grew by {(tenths[-1] - tenths[1]) / 1e6:.0f} MB"


def on_sockets(inputs: range, options: Namespace) -> Iterator[tuple[int, str, str | None]]:
    """Yield (input, status, what is wrong) of a server that gets raw bytes, eight connections at a time."""
    command = [sys.executable, "-m", "velocity.cli", "serve", "--port", "0", "--max-megabytes", "0.1"]
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w") as log, open(log.name) as written:
        environment = os.environ | {"TMPDIR": folder}
        server = subprocess.Popen(
            [*command, *(["--model", options.model] if options.model else [])],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            port = int(re.search(r":(\d+)/v1", server.stdout.readline())[1])
            files, tenths = audio_files(options.leave_out), [0] * 10
            before = set(os.listdir(folder))  # onnxruntime has written something there
            for start in range(inputs.start, inputs.stop, 8):
                group = range(start, min(start + 8, inputs.stop))
                yield from asyncio.run(send_raw(group, options.seed, port, files))
                log_text = written.read()
                if server.poll() is not None or "Traceback" in log_text:
                    yield group[-1], "FOUND", f"the server's log, at or before this input: {log_text[-2000:]}"
                if server.poll() is not None:
                    return
                tenths[(group[-1] - inputs[0]) * 10 // len(inputs)] = psutil.Process(server.pid).memory_info().rss
            yield from grown(inputs[-1], tenths)
            if left := set(os.listdir(folder)) - before:
                yield inputs[-1], "FOUND", f"left {left} behind"
        finally:
            server.terminate()
            server.wait(90)


async def send_raw(group: range, seed: int, port: int, files: list[bytes]) -> list[tuple[int, str, str | None]]:
    async def one(index: int) -> tuple[int, str, str | None]:
        request, chance = draw(seed, index, files)
        head = f"{request.method} {request.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        fields = [(b"Content-Type", request.content_type), (b"Content-Length", str(len(request.body)).encode())]
        head += b"".join(name + b": " + value + b"\r\n" for name, value in [*fields, *request.headers]) + b"\r\n"
        if chance.random() < 0.2:
            head = mutate(chance, head)
        try:
            async with asyncio.timeout(HANGS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head + request.body)
                answer = b""
                try:
                    async with asyncio.timeout(PATIENCE):
                        while piece := await reader.read(2**16):
                            answer += piece
                except TimeoutError:  # the server waits for the rest of a request: there is none
                    writer.write_eof()
                    answer += await reader.read()
                writer.close()
        except TimeoutError:
            return index, "FOUND", "no answer"
        except ConnectionError:
            return index, "reset", None
        head, _, body = answer.partition(b"\r\n\r\n")
        status, length = head[9:12].decode("latin-1") or "closed", re.search(rb"content-length: (\d+)", head)
        body = body[: int(length[1])] if length else body  # what follows answers what was left over of the body
        try:
            check(int(status) if status.isdecimal() else 0, body if body.startswith(b"{") else b"")
        except AssertionError as error:
            return index, "FOUND", str(error)
        return index, status, None

    return await asyncio.gather(*map(one, group))


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="default: as of velocity-asr transcribe")
    parser.add_argument("--sockets", action="store_true")
    parser.add_argument("--leave-out", metavar="CODING", help="of audio, such as VORBIS: libsndfile 1.2.2 leaks there")
    arguments = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    started, statuses = time.monotonic(), Counter()
    inputs = range(arguments.first, arguments.first + arguments.inputs)
    send = on_sockets if arguments.sockets else in_process
    for index, status, wrong in send(inputs, arguments):
        statuses[status] += 1
        if wrong:
            print(f"input {index}: {wrong}", flush=True)
    seconds = time.monotonic() - started
    counted = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    print(f"{arguments.inputs} inputs of seed {arguments.seed} in {seconds:.0f} s; {counted}")
    sys.exit(1 if statuses["FOUND"] else 0)


if __name__ == "__main__":
    main()
