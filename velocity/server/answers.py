"""A transcript in the response formats of OpenAI's API."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from velocity.commands.formats import WRITERS, Format, Transcript
from velocity.server.wishes import ResponseFormat, Wishes

PLAIN = {ResponseFormat.TEXT: Format.TEXT, ResponseFormat.SRT: Format.SRT, ResponseFormat.VTT: Format.VTT}


def answer(transcript: Transcript, wishes: Wishes) -> Response:
    """``text``, ``srt`` and ``vtt`` are byte for byte what ``velocity-asr transcribe --format`` writes."""
    if wishes.form in PLAIN:
        media = "text/vtt" if wishes.form is ResponseFormat.VTT else "text/plain"
        return PlainTextResponse(WRITERS[PLAIN[wishes.form]](transcript), media_type=media)
    if wishes.form is ResponseFormat.JSON:
        return JSONResponse({"text": transcript.text})
    return JSONResponse(verbose(transcript, wishes.granularities))


def verbose(transcript: Transcript, granularities: frozenset[str]) -> dict:
    """OpenAI's verbose object."""
    value = {
        "task": "transcribe",
        "language": "english",
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
    }
    if "segment" in granularities:
        value["segments"] = [
            {"id": n, "start": round(cue.start, 3), "end": round(cue.end, 3), "text": cue.text}
            for n, cue in enumerate(transcript.cues)
        ]
    return value
