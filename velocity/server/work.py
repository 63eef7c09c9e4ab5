"""The recogniser's queue: limited numbers of running and waiting requests."""

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
    """Run ``jobs`` recognitions at a time. A request holds one of ``jobs + waiting`` places from its first byte to its
    result, which also bounds uploads, memory and temporary files."""

    def __init__(self, jobs: int, waiting: int) -> None:
        self.places, self.taken = jobs + waiting, 0
        self.pool = ThreadPoolExecutor(jobs, "recognise")  # onnxruntime and NumPy release the GIL

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises RequestError (503) when all are taken."""
        if self.taken >= self.places:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy; try again", code="busy")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def run(self, work: Callable[[Event], Result], receive: Receive) -> Result:
        """Run ``work(abandoned)`` in a thread as soon as one is free; ``abandoned`` is set when the client has gone.

        Returns or raises only when the thread no longer uses its data, even when the client or the server stops.
        Raises ClientDisconnect when the client goes before the work is done.
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
            task.cancel()  # if it has not started
            await asyncio.wait({job})
            if not job.cancelled():
                job.exception()  # retrieve it, or asyncio logs it

    def stop(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
