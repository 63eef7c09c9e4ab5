"""Words with times and confidences, from the alignment of labels with the sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Word:
    """``start`` and ``end`` in seconds; ``confidence`` in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


def timed_words(
    log_probs: np.ndarray, tokens: list[int], path: np.ndarray, pieces: list[str], frame_seconds: float
) -> list[Word]:
    """The words that ``tokens`` write along ``path``, the index of the label that each frame writes (-1 for blank)."""
    frames = np.flatnonzero(path >= 0)
    indices = np.arange(len(tokens))
    first = frames[np.searchsorted(path[frames], indices)]
    last = frames[np.searchsorted(path[frames], indices, side="right") - 1]
    found = []
    for text, members in spelled(tokens, pieces):
        start, end = first[members[0]] * frame_seconds, (last[members[-1]] + 1) * frame_seconds
        peaks = [log_probs[first[m] : last[m] + 1, tokens[m]].max() for m in members]
        found.append(Word(text, float(start), float(end), float(np.exp(np.mean(peaks)))))
    return found


def spelled(tokens: list[int], pieces: list[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each word of ``tokens`` and the indices of those that write its letters."""
    text, members = "", []
    for index, token in enumerate(tokens):
        letters = pieces[token].lstrip(" ")
        if letters != pieces[token] and text:
            yield text, members
            text, members = "", []
        if letters:
            text, members = text + letters, [*members, index]
    if text:
        yield text, members
