"""Subtitle cues from words with times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from velocity.recognition.decoding.words import Word

PAUSE = 0.7  # seconds without a word that end a cue
LONGEST = 7.0  # seconds: longest cue
LEAD, TAIL = 0.1, 0.3  # seconds a cue is shown before its first word and after its last one


@dataclass(frozen=True)
class Segment:
    """Text spoken from ``start`` to ``end``, in seconds."""

    text: str
    start: float
    end: float


def segments(words: Sequence[Word], seconds: float) -> list[Segment]:
    """The cues of ``words`` in ``seconds`` of audio: consecutive words, up to a pause or the longest cue."""
    cues: list[Segment] = []
    for word in words:
        last = cues[-1] if cues else None
        if last and word.start - last.end < PAUSE and word.end - last.start < LONGEST:
            cues[-1] = Segment(f"{last.text} {word.text}", last.start, word.end)
        else:
            cues.append(Segment(word.text, word.start, word.end))
    shown: list[Segment] = []
    for cue, after in zip(cues, [*cues[1:], None], strict=False):
        start = max(cue.start - LEAD, shown[-1].end if shown else 0.0)
        latest = after.start - LEAD if after else seconds
        shown.append(Segment(cue.text, start, max(cue.end, min(cue.end + TAIL, latest))))
    return shown
