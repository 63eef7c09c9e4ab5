"""Words by their pronunciations."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

ROOT, NOWHERE = 0, -1  # nodes


class Tree(NamedTuple):
    """The pronunciations by their beginnings. Node ``i``, but for ROOT, is the beginning that ``keys[i - 1]`` makes
    longer: ``parent << 8 | phone``. The keys are sorted; the last one is larger than all. Where no word begins or is
    pronounced so, which NOWHERE as an index finds too, the log-probability is minus infinity."""

    keys: np.ndarray  # (nodes,) int64
    best: np.ndarray  # (nodes,) the log-probability of the most probable unigram that begins so
    spoken: np.ndarray  # (nodes,) that of the most probable one that is pronounced so

    def longer(self, nodes: np.ndarray, phones: np.ndarray) -> np.ndarray:
        """(N,) nodes, (M,) phones → (N, M) the nodes that are longer by each of them, or NOWHERE."""
        keys = (nodes[:, None] << 8) | phones
        places = np.searchsorted(self.keys, keys)
        return np.where(self.keys[places] == keys, places + 1, NOWHERE)


class Lexicon:
    """What can be said: the words of each pronunciation, and the tree of their beginnings."""

    def __init__(self, words: Sequence[str], pronunciations: Sequence[bytes], unigrams: np.ndarray) -> None:
        """``pronunciations``, bytes of classes, empty for a word without, and ``unigrams`` (words,) log-probabilities:
        those of each word."""
        order = sorted(range(len(pronunciations)), key=pronunciations.__getitem__)
        silent = sum(not phones for phones in pronunciations)  # they come first
        self._order, self._words = order[silent:], words
        self._phones = [pronunciations[word] for word in self._order]
        self._unigrams = unigrams[self._order]

    @cached_property
    def tree(self) -> Tree:
        """Made at the first use, in 70 ms for 65,000 words."""
        lengths = np.array([len(phones) for phones in self._phones], dtype=np.int64)
        deepest = max(lengths, default=0)
        rows = np.full((len(lengths), deepest), -1)  # (pronunciations, phones), sorted
        rows[np.arange(deepest) < lengths[:, None]] = np.frombuffer(b"".join(self._phones), dtype=np.uint8)
        new = np.ones(rows.shape, dtype=bool)  # whether so many phones begin otherwise than the row before
        new[1:] = np.logical_or.accumulate(rows[1:] != rows[:-1], axis=1)
        nowhere = np.array([-np.inf])
        keys, best, spoken, count = [], [nowhere], [nowhere], 1
        above = np.zeros(len(lengths), dtype=np.int64)  # the node of each row, one phone shorter
        for depth in range(deepest):
            there = lengths > depth
            first = np.flatnonzero(new[:, depth] & there)
            keys.append(above[first] << 8 | rows[first, depth])
            for values, end in ((best, there), (spoken, lengths == depth + 1)):
                values.append(np.maximum.reduceat(np.where(end, self._unigrams, -np.inf), first))
            above = count - 1 + np.cumsum(new[:, depth] & there)
            count += len(first)
        keys.append(np.array([np.iinfo(np.int64).max]))
        return Tree(np.concatenate(keys), np.concatenate([*best, nowhere]), np.concatenate([*spoken, nowhere]))

    def words(self, phones: bytes) -> list[str]:
        """Those pronounced so, in the order of the alphabet."""
        first = bisect_left(self._phones, phones)
        return [self._words[word] for word in self._order[first : bisect_right(self._phones, phones, first)]]
