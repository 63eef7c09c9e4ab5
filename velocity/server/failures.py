"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

RETRY_SECONDS = 2  # the Retry-After of a busy server


class RequestError(Exception):
    """Answer a request with ``status`` and a message; ``param`` is the field at fault."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, str | None]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}

    def response(self) -> JSONResponse:
        busy = {"Retry-After": str(RETRY_SECONDS)} if self.status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return JSONResponse({"error": self.body}, self.status, busy)


def answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
    """Starlette's own errors: an unknown path or method."""
    answer = RequestError(error.status_code, f"{HTTPStatus(error.status_code).phrase}: {request.method}").response()
    answer.headers.update(error.headers or {})
    return answer


def answer_fault(request: Request, error: Exception) -> JSONResponse:
    """A bug of the server: the traceback goes to its log, not to the client."""
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the server's log").response()
