"""The application: what is served where."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from velocity.runtime import VelocityASR
from velocity.server.answers import answer
from velocity.server.errors import RequestError, answer_fault, answer_http_error, answer_request_error
from velocity.server.recognition import recognise
from velocity.server.uploads import Limits, Lingering, received_form
from velocity.server.wishes import read_wishes
from velocity.server.work import Queue


class Service:
    """A recogniser and its queue behind HTTP. ``model_name`` is what clients call the model."""

    def __init__(self, model: VelocityASR, limits: Limits, jobs: int, waiting: int) -> None:
        self.model, self.limits, self.jobs = model, limits, jobs
        self.model_name = str(model.config.get("name") or model.folder.name)
        self.created = int((model.folder / "model.onnx").stat().st_mtime)
        self.queue = Queue(jobs, waiting)

    async def transcriptions(self, request: Request) -> Response:
        """``POST /v1/audio/transcriptions``."""
        with self.queue.place():
            async with received_form(request, self.limits) as form:
                wishes = read_wishes(form, self.model_name)
                if wishes.file.size > self.limits.file_bytes:
                    raise self.limits.too_large()
                started = time.perf_counter()
                transcript = await self.queue.run(
                    lambda abandoned: recognise(self.model, wishes.file.file, self.limits.seconds), request.receive
                )
                took = time.perf_counter() - started
                print(f"{transcript.seconds:.1f} s of audio in {took:.2f} s, waiting included", file=sys.stderr)
                return answer(transcript, wishes)

    async def models(self, request: Request) -> Response:
        """``GET /v1/models`` and ``GET /v1/models/{model}``."""
        one = {"id": self.model_name, "object": "model", "created": self.created, "owned_by": "velocity-asr"}
        asked = request.path_params.get("model")
        if asked is None:
            return JSONResponse({"object": "list", "data": [one]})
        if asked != self.model_name:
            raise RequestError(HTTPStatus.NOT_FOUND, "no such model", "model", "model_not_found")
        return JSONResponse(one)

    async def health(self, request: Request) -> Response:
        """``GET /health``."""
        return JSONResponse({"status": "ok", "requests": self.queue.taken, "places": self.queue.places})


def application(service: Service) -> Starlette:
    """The ASGI application; ending it ends the service's threads."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.queue.stop()

    app = Starlette(
        routes=[
            Route("/v1/audio/transcriptions", service.transcriptions, methods=["POST"]),
            Route("/v1/models", service.models),
            Route("/v1/models/{model:path}", service.models),
            Route("/health", service.health),
        ],
        middleware=[Middleware(Lingering)],
        exception_handlers={
            RequestError: answer_request_error,
            HTTPException: answer_http_error,
            ClientDisconnect: _nobody_listens,
            Exception: answer_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _nobody_listens(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)  # sent to nobody
