"""The recogniser's queue: so many at once, so many waiting, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from threading import Event
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from velocity.server.failures import RequestError

Result = TypeVar("Result")


class Queue:
    """``jobs`` recognitions at a time. A request has its place from its first byte to its answer: there are
    ``jobs + waiting`` places, which bounds uploads, memory and temporary files as well."""

    def __init__(self, jobs: int, waiting: int) -> None:
        self.places, self.taken = jobs + waiting, 0
        self.pool = ThreadPoolExecutor(
            jobs, "recognise"
        )  # onnxruntime and NumPy compute outside the interpreter's lock

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises RequestError (503) when all are taken."""
        if self.taken >= self.places:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy; try again", code="busy")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(self, work: Callable[[Event], Result], receive: Receive) -> Result:
        """``work(abandoned)`` in a thread, as soon as one is free; ``abandoned`` is set when nobody waits any more.

        Returns or raises when the thread has let go of its data, whatever happens to the client or the server.
        Raises ClientDisconnect when the client went away first.
        """
        abandoned = Event()
        task = self.pool.submit(work, abandoned)
        job = asyncio.wrap_future(task)
        gone = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                raise ClientDisconnect()
            return job.result()
        finally:
            gone.cancel()
            abandoned.set()
            task.cancel()  # where it has not begun
            await asyncio.wait({job})
            if not job.cancelled():
                job.exception()  # seen: it is nobody's any more

    def stop(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
