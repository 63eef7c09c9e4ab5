"""Words with times and confidences, from the alignment of labels with frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LATE, EARLY = 0.03, 0.02  # seconds by which a word's first label is late, and its last label early, against the audio


@dataclass(frozen=True)
class Word:
    """``start`` and ``end`` in seconds.

    ``confidence`` is the geometric mean, over the word's labels, of the highest posterior where each is aligned
    (the maximum-probability measure of Laptev & Ginsburg 2022, "Fast entropy-based methods of word-level confidence
    estimation for end-to-end automatic speech recognition").
    """

    text: str
    start: float
    end: float
    confidence: float


def timed_words(
    log_probs: np.ndarray, tokens: list[int], path: np.ndarray, pieces: list[str], frame_seconds: float
) -> list[Word]:
    """The words of ``tokens``, aligned by ``path``: the index of each frame's label (-1 for blank)."""
    frames = np.flatnonzero(path >= 0)
    aligned, indices = path[frames], np.arange(len(tokens))
    begins = np.searchsorted(aligned, indices)
    first, last = frames[begins], frames[np.searchsorted(aligned, indices, side="right") - 1]
    peaks = np.maximum.reduceat(log_probs[frames, np.array(tokens)[aligned]], begins).tolist() if tokens else []
    found = []
    for text, members in spelled(tokens, pieces):
        start = max(first[members[0]] * frame_seconds - LATE, found[-1].end if found else 0.0)
        end = min((last[members[-1]] + 1) * frame_seconds + EARLY, len(log_probs) * frame_seconds)
        mean = sum(peaks[member] for member in members) / len(members)
        found.append(Word(text, float(start), float(end), math.exp(mean)))
    return found


def spelled(tokens: list[int], pieces: list[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each word of ``tokens`` and the indices of the tokens that spell it."""
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
