"""The fields of a transcription request, checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from itertools import islice
from typing import Any

from starlette.datastructures import FormData, UploadFile

from velocity.commands.decoder import HOT
from velocity.server.failures import RequestError
from velocity.text import normalize

ENGLISH = re.compile(r"en(glish)?([-_][a-z]+)?", re.IGNORECASE)
PHRASES, PHRASE_WORDS, PHRASE_LETTERS = 100, 5, 80  # limits on the hot words of a prompt
GRANULARITIES = {"word", "segment"}


class ResponseFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"


@dataclass(frozen=True)
class TranscriptionRequest:
    """The fields of OpenAI's API that have an effect here; others are ignored."""

    file: UploadFile
    response_format: ResponseFormat
    granularities: frozenset[str]
    hotwords: dict[str, float]  # from the prompt
    stream: bool


def parse_request(fields: FormData) -> TranscriptionRequest:
    """Any ``model`` is accepted: clients send names of OpenAI's, and there is one model here to serve them with.

    Raises RequestError, 400, for any fault.
    """
    file = fields.get("file")
    if not isinstance(file, UploadFile):
        raise invalid("file", "the field `file` must contain a file")
    if not file.size:
        raise invalid("file", "the file is empty")
    if not ENGLISH.fullmatch(language := _text(fields, "language", "en")):
        raise invalid("language", f"{_quoted(language)}: only English (en) is supported")
    try:
        fits = 0 <= float(temperature := _text(fields, "temperature", "0")) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise invalid("temperature", f"{_quoted(temperature)}: must be a number from 0 to 1 (it has no effect here)")
    response_format = _text(fields, "response_format", ResponseFormat.JSON)
    if response_format not in list(ResponseFormat):
        raise invalid("response_format", f"{_quoted(response_format)}: must be one of {', '.join(ResponseFormat)}")
    granularities = frozenset(
        value for name in ("timestamp_granularities[]", "timestamp_granularities") for value in fields.getlist(name)
    )
    if not granularities <= GRANULARITIES:
        raise invalid("timestamp_granularities", "must be word or segment")
    if granularities and response_format != ResponseFormat.VERBOSE_JSON:
        raise invalid("timestamp_granularities", "requires response_format=verbose_json")
    stream = _text(fields, "stream", "false").lower() in ("true", "1")
    if stream and response_format not in (ResponseFormat.JSON, ResponseFormat.TEXT):
        raise invalid("stream", "only text can be streamed: response_format json or text")
    hotwords = read_hotwords(_text(fields, "prompt", ""))
    return TranscriptionRequest(
        file, ResponseFormat(response_format), granularities or frozenset({"segment"}), hotwords, stream
    )


def read_hotwords(prompt: str) -> dict[str, float]:
    """The normalised phrases of a prompt and their weights. Commas, semicolons, full stops and line breaks separate
    phrases; long ones and those with digits are ignored as prose."""
    parts = (part for part in re.split(r"[,;.\n]", prompt) if len(part) <= PHRASE_LETTERS)
    phrases = (part for part in parts if not re.search(r"\d", part))
    found = (phrase for phrase in map(normalize, phrases) if 0 < len(phrase.split()) <= PHRASE_WORDS)
    return dict.fromkeys(islice(found, PHRASES), HOT)


def invalid(field: str, message: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message, field)


def _text(fields: FormData, name: str, default: str) -> str:
    value: Any = fields.get(name, default)
    if not isinstance(value, str):
        raise invalid(name, "must be text, not a file")
    return value.strip() or default


def _quoted(text: str) -> str:
    """A client's text for a message: short and on one line."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
