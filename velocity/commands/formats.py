"""Formats of a transcript: plain text, JSON lines, SubRip and WebVTT subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from velocity.recognition.decoding.segments import segments

if TYPE_CHECKING:
    from velocity.recognition.decoding.segments import Segment
    from velocity.recognition.decoding.words import Word
    from velocity.recognition.offline import Passage


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


SUFFIXES = {Format.TEXT: ".txt", Format.JSON: ".json", Format.SRT: ".srt", Format.VTT: ".vtt"}


@dataclass
class Transcript:
    """The transcript of ``file``. ``passages`` may be an iterator that recognises: then the fields and properties below
    are valid only after it is exhausted, and the properties only if it was kept as a list."""

    file: str
    passages: Iterable[Passage]
    seconds: float = 0.0  # of audio
    rtf: float = 0.0  # seconds of work per second of audio, reading included

    @property
    def text(self) -> str:
        return " ".join(passage.text for passage in self.passages if passage.text)

    @property
    def words(self) -> list[Word]:
        return [word for passage in self.passages for word in passage.words]

    @property
    def cues(self) -> list[Segment]:
        """Subtitles: consecutive words, up to a pause."""
        return list(_cues(self.passages))


def _text(transcript: Transcript) -> Iterator[str]:
    space = ""
    for passage in transcript.passages:
        if passage.text:
            yield space + passage.text
            space = " "
    yield "\n"


def _json(transcript: Transcript) -> Iterator[str]:
    texts: list[str] = []
    words: list[dict[str, Any]] = []
    passages: list[dict[str, Any]] = []
    for passage in transcript.passages:
        texts += [passage.text] if passage.text else []
        words += [
            {"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
            for w in passage.words
        ]
        alternatives = [{"text": found.text, "score": round(found.score, 3)} for found in passage.hypotheses]
        times = {"start": round(passage.start, 3), "end": round(passage.end, 3)}
        passages.append({**times, "alternatives": alternatives})
    value = {
        "file": transcript.file,
        "text": " ".join(texts),
        "seconds": round(transcript.seconds, 3),
        "rtf": round(transcript.rtf, 5),
        "words": words,
    }
    if any(len(passage["alternatives"]) > 1 for passage in passages):  # --n-best
        value["passages"] = passages
    yield json.dumps(value, ensure_ascii=False) + "\n"


def _srt(transcript: Transcript) -> Iterator[str]:
    for number, cue in enumerate(_cues(transcript.passages), start=1):
        yield f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n\n"


def _vtt(transcript: Transcript) -> Iterator[str]:
    yield "WEBVTT\n\n"
    for cue in _cues(transcript.passages):
        yield f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text}\n\n"


def _cues(passages: Iterable[Passage]) -> Iterator[Segment]:
    """The cues of each passage; a cue ends with its passage at the latest, since passages end in pauses."""
    shown = 0.0
    for passage in passages:
        for cue in segments(passage.words, passage.end):
            yield replace(cue, start=max(cue.start, shown))
            shown = cue.end


def _clock(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


_STREAMS: dict[Format, Callable[[Transcript], Iterator[str]]] = {
    Format.TEXT: _text,
    Format.JSON: _json,
    Format.SRT: _srt,
    Format.VTT: _vtt,
}


def written(transcript: Transcript, form: Format) -> Iterator[str]:
    """Yield a transcript in the format ``form`` as its passages arrive: valid UTF-8, whatever the file's name."""
    return (part.encode("utf-8", "backslashreplace").decode("utf-8") for part in _STREAMS[form](transcript))
