"""Words with times from the CTC best path, and the subtitle cues made of them.

CTC says where a token peaks, not how long it lasts: times are good to about a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from velocity.decoding.greedy import best_path

PAUSE = 0.7  # seconds without a token that end a cue
LONGEST = 7.0  # seconds of a cue
LEAD, TAIL = 0.1, 0.3  # seconds a cue is shown before its first token's peak and after its last one's


@dataclass(frozen=True)
class Segment:
    """Text spoken from ``start`` to ``end``, in seconds."""

    text: str
    start: float
    end: float


def words(
    log_probs: np.ndarray, frame_seconds: float, decode: Callable[[list[int]], str], blank: int = 0
) -> Iterator[Segment]:
    """Yield the words of (frames, V) log-posteriors with the times of their first and last token.

    Works with any tokenizer: a token begins a new word when the text decoded with it holds one word more.
    """
    tokens, frames = best_path(log_probs, blank)
    run: list[int] = []
    text, start, end = "", 0.0, 0.0
    for token, frame in zip(tokens.tolist(), frames.tolist(), strict=True):
        time = frame * frame_seconds
        longer = decode([*run, token]).strip()
        if len(longer.split()) > 1:
            yield Segment(text, start, end)
            run, text, longer = [], "", decode([token]).strip()
        if longer != text:
            start, end = (start if text else time), time
        run, text = [*run, token], longer
    if text:
        yield Segment(text, start, end)


def segments(
    log_probs: np.ndarray, frame_seconds: float, decode: Callable[[list[int]], str], blank: int = 0
) -> list[Segment]:
    """Cues of (frames, V) log-posteriors: words in a row, ended by a pause or by the longest time one is shown."""
    cues: list[Segment] = []
    for word in words(log_probs, frame_seconds, decode, blank):
        last = cues[-1] if cues else None
        if last and word.start - last.end < PAUSE and word.end - last.start < LONGEST:
            cues[-1] = Segment(f"{last.text} {word.text}", last.start, word.end)
        else:
            cues.append(word)
    shown: list[Segment] = []
    for cue, after in zip(cues, [*cues[1:], None], strict=False):
        start = max(cue.start - LEAD, shown[-1].end if shown else 0.0)
        latest = after.start - LEAD if after else len(log_probs) * frame_seconds
        shown.append(Segment(cue.text, start, max(cue.end, min(cue.end + TAIL, latest))))
    return shown
