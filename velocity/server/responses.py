"""A transcript in the response formats of OpenAI's API."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, PlainTextResponse, Response

from velocity.commands.formats import Format, Transcript, written
from velocity.recognition.decoding.segments import Segment
from velocity.recognition.decoding.words import Word
from velocity.server.request import ResponseFormat, TranscriptionRequest

PLAIN = {ResponseFormat.TEXT: Format.TEXT, ResponseFormat.SRT: Format.SRT, ResponseFormat.VTT: Format.VTT}
HOP = 0.01  # the unit of OpenAI's ``seek``, in seconds


def response(transcript: Transcript, request: TranscriptionRequest, encode: Callable[[str], list[int]]) -> Response:
    """``text``, ``srt`` and ``vtt`` equal byte for byte what ``velocity-asr transcribe --format`` writes."""
    if request.response_format in PLAIN:
        media = "text/vtt" if request.response_format is ResponseFormat.VTT else "text/plain"
        return PlainTextResponse("".join(written(transcript, PLAIN[request.response_format])), media_type=media)
    if request.response_format is ResponseFormat.JSON:
        return JSONResponse({"text": transcript.text})
    value: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
    }
    if "word" in request.granularities:
        value["words"] = [_timed("word", word) for word in transcript.words]
    if "segment" in request.granularities:
        words = iter(transcript.words)
        value["segments"] = [
            _segment(n, cue, list(islice(words, len(cue.text.split()))), encode)
            for n, cue in enumerate(transcript.cues)
        ]
    return JSONResponse(value)


def _timed(name: str, part: Word | Segment) -> dict[str, Any]:
    return {name: part.text, "start": round(part.start, 3), "end": round(part.end, 3)}


def _segment(n: int, cue: Segment, words: Sequence[Word], encode: Callable[[str], list[int]]) -> dict[str, Any]:
    """The fields that strict clients require, as close to Whisper's meaning as CTC allows.

    ``avg_logprob`` is the mean logarithm of the words' confidences, ``no_speech_prob`` the probability that none of
    them was spoken if they were independent; ``compression_ratio`` is Whisper's.
    """
    text, confidences = cue.text.encode(), np.clip([word.confidence for word in words], 1e-9, 1.0)
    return {
        "id": n,
        "seek": round(cue.start / HOP),
        **_timed("text", cue),
        "tokens": encode(cue.text),
        "temperature": 0.0,
        "avg_logprob": round(float(np.log(confidences).mean()), 4),
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4),
        "no_speech_prob": round(float((1.0 - confidences).prod()), 6),
    }
