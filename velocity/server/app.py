"""The application: its routes and error handlers; ``velocity-asr serve`` runs it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from velocity.server.endpoint import Service, Transcriptions
from velocity.server.failures import RequestError, answer_fault, answer_http_error
from velocity.server.http import bind, server
from velocity.server.uploads import LingeringClose


def application(service: Service) -> Starlette:
    """The ASGI application; its shutdown stops the service's threads."""

    def models(request: Request) -> JSONResponse:
        one = {"id": service.name, "object": "model", "created": service.created, "owned_by": "velocity-asr"}
        if "model" in request.path_params:  # any name: it would be served by this one
            return JSONResponse(one)
        return JSONResponse({"object": "list", "data": [one]})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "requests": service.queue.taken, "places": service.queue.places})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.queue.stop()

    app = Starlette(
        routes=[
            Route("/v1/audio/transcriptions", Transcriptions(service), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", models),
            Route("/health", health),
        ],
        middleware=[Middleware(LingeringClose)],
        exception_handlers={
            RequestError: lambda request, error: error.response(),
            HTTPException: answer_http_error,
            ClientDisconnect: lambda request, error: Response(status_code=HTTPStatus.BAD_REQUEST),
            Exception: answer_fault,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def serve(service: Service, host: str, port: int) -> None:
    """Answer on ``host``:``port`` until SIGTERM or Ctrl-C; print its address.

    Raises VelocityError when it cannot listen there.
    """
    listener = bind(host, port)
    if not ip_address(listener.getsockname()[0]).is_loopback:
        print(f"warning: anyone who can reach {host} may use the server: it has no password", file=sys.stderr)
    named = f"[{host}]" if ":" in host else host
    print(f"{service.name} on http://{named}:{listener.getsockname()[1]}/v1", flush=True)
    server(application(service)).run(sockets=[listener])
