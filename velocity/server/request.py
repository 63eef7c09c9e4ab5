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
PHRASES, PHRASE_WORDS, PHRASE_LETTERS = 100, 5, 80  # of a prompt that are listened for
GRANULARITIES = {"word", "segment"}


class ResponseFormat(StrEnum):
    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VERBOSE_JSON = "verbose_json"
    VTT = "vtt"


@dataclass(frozen=True)
class Wishes:
    """What a client wants of its file. Fields of OpenAI's that are not here change nothing."""

    file: UploadFile
    form: ResponseFormat
    granularities: frozenset[str]
    hotwords: dict[str, float]  # of the prompt
    stream: bool


def read_wishes(fields: FormData, model: str) -> Wishes:
    """Raises RequestError: 404 for another model than ``model``, 400 for the rest."""
    file = fields.get("file")
    if not isinstance(file, UploadFile):
        raise wrong("file", "a file is needed in the field `file`")
    if not file.size:
        raise wrong("file", "the file is empty")
    asked = _text(fields, "model", model)
    if asked != model:
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f"the model {_quoted(asked)} is not served here; {model} is",
            "model",
            "model_not_found",
        )
    if not ENGLISH.fullmatch(language := _text(fields, "language", "en")):
        raise wrong("language", f"{_quoted(language)}: only English (en) is recognised")
    try:
        fits = 0 <= float(temperature := _text(fields, "temperature", "0")) <= 1
    except ValueError:
        fits = False
    if not fits:
        raise wrong("temperature", f"{_quoted(temperature)}: a number from 0 to 1 (which changes nothing here)")
    form = _text(fields, "response_format", ResponseFormat.JSON)
    if form not in list(ResponseFormat):
        raise wrong("response_format", f"{_quoted(form)}: one of {', '.join(ResponseFormat)}")
    granularities = frozenset(
        value for name in ("timestamp_granularities[]", "timestamp_granularities") for value in fields.getlist(name)
    )
    if not granularities <= GRANULARITIES:
        raise wrong("timestamp_granularities", "word or segment")
    if granularities and form != ResponseFormat.VERBOSE_JSON:
        raise wrong("timestamp_granularities", "needs response_format=verbose_json")
    stream = _text(fields, "stream", "false").lower() in ("true", "1")
    if stream and form not in (ResponseFormat.JSON, ResponseFormat.TEXT):
        raise wrong("stream", "only text comes bit by bit: response_format json or text")
    hotwords = read_hotwords(_text(fields, "prompt", ""))
    return Wishes(file, ResponseFormat(form), granularities or frozenset({"segment"}), hotwords, stream)


def read_hotwords(prompt: str) -> dict[str, float]:
    """The phrases of a prompt, normalised, and their weights: what lies between commas, semicolons, full stops and line
    breaks. Prose is no hot word: longer phrases, and those with figures, are passed over."""
    parts = (part for part in re.split(r"[,;.\n]", prompt) if len(part) <= PHRASE_LETTERS)
    phrases = (part for part in parts if not re.search(r"\d", part))
    found = (phrase for phrase in map(normalize, phrases) if 0 < len(phrase.split()) <= PHRASE_WORDS)
    return dict.fromkeys(islice(found, PHRASES), HOT)


def wrong(field: str, message: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, message, field)


def _text(fields: FormData, name: str, default: str) -> str:
    value: Any = fields.get(name, default)
    if not isinstance(value, str):
        raise wrong(name, "must be text, not a file")
    return value.strip() or default


def _quoted(text: str) -> str:
    """A client's text as it may stand in a message: short and on one line."""
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
