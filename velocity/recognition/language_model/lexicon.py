"""Words by their pronunciations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

AFTER_PHONES = b"\xff"  # sorts after every phone


class Lexicon:
    """What can be said: the words of each pronunciation, and the most probable one of each beginning."""

    def __init__(self, words: Sequence[str], pronunciations: Sequence[bytes], unigrams: np.ndarray) -> None:
        """``pronunciations``, bytes of classes, empty for a word without, and ``unigrams`` (words,) log-probabilities:
        those of each word."""
        order = sorted(range(len(pronunciations)), key=pronunciations.__getitem__)
        silent = sum(not phones for phones in pronunciations)  # they come first
        self._order, self._words = order[silent:], words
        self._phones = [pronunciations[word] for word in self._order]
        self._unigrams = unigrams[self._order]

    def words(self, phones: bytes) -> list[str]:
        """Those pronounced so, in the order of the alphabet."""
        first = bisect_left(self._phones, phones)
        return [self._words[word] for word in self._order[first : bisect_right(self._phones, phones, first)]]

    def best_beginning(self, phones: bytes) -> float | None:
        """The log-probability of the most probable unigram whose pronunciation begins so; None if none does."""
        first = bisect_left(self._phones, phones)
        last = bisect_left(self._phones, phones + AFTER_PHONES, first)
        return float(self._unigrams[first:last].max()) if first < last else None
