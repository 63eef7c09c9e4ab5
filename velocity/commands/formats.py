"""How a transcript is written: plain text, JSON lines, SubRip and WebVTT subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from velocity.decoding import Segment


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


SUFFIXES = {Format.TEXT: ".txt", Format.JSON: ".json", Format.SRT: ".srt", Format.VTT: ".vtt"}


@dataclass(frozen=True)
class Transcript:
    file: str
    text: str
    seconds: float  # of audio
    rtf: float  # seconds of work, reading included, a second of audio
    cues: list[Segment]


def _text(transcript: Transcript) -> str:
    return f"{transcript.text}\n"


def _json(transcript: Transcript) -> str:
    value = {
        "file": transcript.file,
        "text": transcript.text,
        "seconds": round(transcript.seconds, 3),
        "rtf": round(transcript.rtf, 5),
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def _srt(transcript: Transcript) -> str:
    cues = enumerate(transcript.cues, start=1)
    return "".join(f"{n}\n{_clock(c.start, ',')} --> {_clock(c.end, ',')}\n{c.text}\n\n" for n, c in cues)


def _vtt(transcript: Transcript) -> str:
    cues = (f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text}\n\n" for cue in transcript.cues)
    return "WEBVTT\n\n" + "".join(cues)


def _clock(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


WRITERS: dict[Format, Callable[[Transcript], str]] = {
    Format.TEXT: _text,
    Format.JSON: _json,
    Format.SRT: _srt,
    Format.VTT: _vtt,
}
