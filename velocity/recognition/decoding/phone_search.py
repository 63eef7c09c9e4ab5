"""The search for words in log-posteriors of phones, with a language model and hot words: ``wasm/search.c``."""

from __future__ import annotations

import struct
import weakref
from typing import NamedTuple

import numpy as np

from velocity.recognition.decoding.beam import MARGIN
from velocity.recognition.decoding.vocabulary import Vocabulary

TOKENS = 16  # best classes of a frame by which paths grow
FLOOR = -5.0  # natural logarithm: less probable classes of a frame are skipped


class Result(NamedTuple):
    """``words``: ids of the vocabulary, NO_WORD for phones that are no word's. ``entry``: where the search keeps its
    labels."""

    score: float
    words: tuple[int, ...]
    entry: int


class PhoneSearch:
    """Takes frames piece by piece: how they are divided changes nothing.

    Nothing is pruned, and the scores are exact, if ``beam``, ``tokens`` and ``margin`` are large enough and ``floor``
    is minus infinity. With ``alike`` above 1, for alternatives, up to so many different histories are kept that the
    language model and the hot words cannot tell apart. Memory grows with the frames: use it for up to a minute or so.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        beam: int,
        alike: int = 1,
        tokens: int = TOKENS,
        floor: float = FLOOR,
        margin: float = MARGIN,
    ) -> None:
        self._vocabulary = vocabulary
        self._search = vocabulary.call("begin", beam, alike, tokens, floor, margin)
        weakref.finalize(self, vocabulary.call, "end", self._search)

    def accept(self, log_probs: np.ndarray) -> None:
        """The next (frames, CLASSES) log-posteriors."""
        self._vocabulary.accept(self._search, log_probs)

    def results(self) -> list[Result]:
        """Of the frames so far, as if they were all, best first: each path with each word that may end it."""
        numbers = self._vocabulary.numbers("results", self._search)
        return sorted(_results(numbers), key=lambda result: -result.score)

    def so_far(self) -> tuple[Result, int]:
        """Of the frames so far, if they are not all: the best path, with the word that it has begun, if it is one; and
        how many of its words, from the first on, all paths have that are at most two nats worse."""
        agreed, *numbers = self._vocabulary.numbers("so_far", self._search).tolist()
        return max(_results(np.array(numbers, dtype="<i4"))), agreed

    def labels(self, result: Result) -> tuple[list[int], list[int]]:
        """Its classes, and the frame in which each of them appeared: about that of its sound."""
        numbers = self._vocabulary.numbers("labels", self._search, result.entry)
        return numbers[::2].tolist(), numbers[1::2].tolist()


def _results(numbers: np.ndarray) -> list[Result]:
    """``numbers``: for each the score, a float64 in two of them, the entry, the number of words, and the words."""
    data, values, found, at = numbers.tobytes(), numbers.tolist(), [], 0
    while at < len(values):
        (score,) = struct.unpack_from("<d", data, 4 * at)
        entry, count = values[at + 2 : at + 4]
        found.append(Result(score, tuple(values[at + 4 : at + 4 + count]), entry))
        at += 4 + count
    return found
