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
from velocity.server.request import ResponseFormat, Wishes

PLAIN = {ResponseFormat.TEXT: Format.TEXT, ResponseFormat.SRT: Format.SRT, ResponseFormat.VTT: Format.VTT}
HOP = 0.01  # seconds that OpenAI's ``seek`` counts in


def answer(transcript: Transcript, wishes: Wishes, encode: Callable[[str], list[int]]) -> Response:
    """``text``, ``srt`` and ``vtt`` are byte for byte what ``velocity-asr transcribe --format`` writes."""
    if wishes.form in PLAIN:
        media = "text/vtt" if wishes.form is ResponseFormat.VTT else "text/plain"
        return PlainTextResponse("".join(written(transcript, PLAIN[wishes.form])), media_type=media)
    if wishes.form is ResponseFormat.JSON:
        return JSONResponse({"text": transcript.text})
    value: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
    }
    if "word" in wishes.granularities:
        value["words"] = [_timed("word", word) for word in transcript.words]
    if "segment" in wishes.granularities:
        words = iter(transcript.words)
        value["segments"] = [
            _segment(n, cue, list(islice(words, len(cue.text.split()))), encode)
            for n, cue in enumerate(transcript.cues)
        ]
    return JSONResponse(value)


def _timed(name: str, spoken: Word | Segment) -> dict[str, Any]:
    return {name: spoken.text, "start": round(spoken.start, 3), "end": round(spoken.end, 3)}


def _segment(n: int, cue: Segment, words: Sequence[Word], encode: Callable[[str], list[int]]) -> dict[str, Any]:
    """The fields that strict clients insist on, each as near to Whisper's meaning as CTC has it.

    ``avg_logprob`` is the mean logarithm of the words' confidences, ``no_speech_prob`` the probability that none of
    them was said if they were independent; ``compression_ratio`` is Whisper's.
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
