"""Pseudo-labels: what a model recognises with confidence in speech without a text, to train on (self-training, as in
Kahn et al. 2020, "Self-training for end-to-end speech recognition")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.recognition.decoding.words import Word
from velocity.recognition.offline import Passage

CONFIDENCE = 0.5  # the least that is kept, unless a caller wants another
FEWEST_WORDS = 3
MARGIN = 0.15  # seconds kept around the words
LONGEST = 12.0  # seconds of an utterance, where there is a pause to cut it
FIRST_CUT = 2.0  # seconds from either end, before and after which no pause is cut
TOO_LONG = 15.0  # seconds: speech without pauses is left out


@dataclass(frozen=True)
class PseudoLabel:
    """The span of an utterance in seconds, and its text; ``confidence``: geometric mean of the words', 0 to 1."""

    start: float
    end: float
    text: str
    confidence: float

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """The utterance in (samples,) at 16 kHz."""
        return samples[int(self.start * SAMPLE_RATE) : int(self.end * SAMPLE_RATE)]


def pseudo_labels(passages: Iterable[Passage], seconds: float, least: float) -> Iterator[PseudoLabel]:
    """The utterances in a recording of ``seconds`` whose confidence is ``least`` or more, cut at pauses between
    words."""
    for passage in passages:
        for words in _cut_at_pauses(passage.words):
            start, end = max(0.0, words[0].start - MARGIN), min(seconds, words[-1].end + MARGIN)
            label = PseudoLabel(start, end, " ".join(word.text for word in words), _confidence(words))
            if len(words) >= FEWEST_WORDS and end - start <= TOO_LONG and label.confidence >= least:
                yield label


def _cut_at_pauses(words: Sequence[Word]) -> list[Sequence[Word]]:
    """``words`` in parts of at most LONGEST seconds, cut at the longest pause, and each part again if need be."""
    if not words or words[-1].end - words[0].start <= LONGEST:
        return [words] if words else []
    pauses = [
        (after.start - before.end, number)
        for number, (before, after) in enumerate(pairwise(words), 1)
        if before.end - words[0].start > FIRST_CUT and words[-1].end - after.start > FIRST_CUT
    ]
    if not pauses:
        return [words]
    _, number = max(pauses)
    return _cut_at_pauses(words[:number]) + _cut_at_pauses(words[number:])


def _confidence(words: Sequence[Word]) -> float:
    return float(np.exp(np.mean(np.log([max(word.confidence, 1e-9) for word in words]))))
