"""Words by their pronunciations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

ROOT, NOWHERE = 0, -1  # nodes


class Tree(NamedTuple):
    """The pronunciations by their beginnings: a node for each, and, last, so that NOWHERE as an index finds it, one for
    those of no word. The children of a node are consecutive nodes, in the order of their phones."""

    phones: np.ndarray  # (nodes + 1,) uint64: bit ``p`` is set if a child is longer by phone ``p``
    child: np.ndarray  # (nodes + 1,) int64: the first child
    depth: np.ndarray  # (nodes + 1,) int64: its phones; none of NOWHERE's
    best: np.ndarray  # (nodes + 1,) the log-probability of the most probable unigram that begins so
    row: np.ndarray  # (nodes + 1,) int64: the first row of the lexicon that is pronounced so
    rows: np.ndarray  # (nodes + 1,) int64: how many are

    def longer(self, nodes: np.ndarray, phones: np.ndarray) -> np.ndarray:
        """(N,) nodes, (M,) phones → (N, M) the nodes that are longer by each of them, or NOWHERE."""
        bits = np.uint64(1) << phones.astype(np.uint64)
        there = self.phones[nodes][:, None]
        return np.where(there & bits, self.child[nodes][:, None] + np.bitwise_count(there & (bits - 1)), NOWHERE)

    def path(self, phones: Iterable[int]) -> list[int]:
        """The nodes from that of the first phone on."""
        nodes, node = [], ROOT
        for phone in phones:
            node = int(self.longer(np.array([node]), np.array([phone]))[0, 0])
            nodes.append(node)
        return nodes


class Lexicon:
    """What can be said: a row for each word that has a pronunciation, sorted by it."""

    def __init__(self, pronunciations: Sequence[bytes], unigrams: np.ndarray) -> None:
        """``pronunciations``, bytes of classes below 64, empty for a word without, and ``unigrams`` (words,)
        log-probabilities: those of each word."""
        order = sorted(range(len(pronunciations)), key=pronunciations.__getitem__)
        silent = sum(not phones for phones in pronunciations)  # they come first
        self.words = np.array(order[silent:], dtype=np.int64)  # (rows,) the words
        self.unigrams = unigrams[self.words]  # (rows,)
        self._phones = [pronunciations[word] for word in order[silent:]]

    @cached_property
    def tree(self) -> Tree:
        """Made at the first use, in 70 ms for 65,000 words."""
        lengths = np.array([len(phones) for phones in self._phones], dtype=np.int64)
        deepest = max(lengths, default=0)
        table = np.full((len(lengths), deepest), -1)  # (rows, phones)
        table[np.arange(deepest) < lengths[:, None]] = np.frombuffer(b"".join(self._phones), dtype=np.uint8)
        new = np.ones(table.shape, dtype=bool)  # whether so many phones begin otherwise than the row before
        new[1:] = np.logical_or.accumulate(table[1:] != table[:-1], axis=1)
        parents, phones = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        best, counts, row, rows = [np.zeros(1)], [1], [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
        above = np.zeros(len(lengths), dtype=np.int64)  # the node of each row, one phone shorter
        for depth in range(deepest):
            there = lengths > depth
            first = np.flatnonzero(new[:, depth] & there)
            parents.append(above[first])
            phones.append(table[first, depth])
            best.append(np.maximum.reduceat(np.where(there, self.unigrams, -np.inf), first))
            row.append(first)
            rows.append(np.add.reduceat((lengths == depth + 1).astype(np.int64), first))
            above = sum(counts) - 1 + np.cumsum(new[:, depth] & there)
            counts.append(len(first))
        count = sum(counts)
        masks, child = np.zeros(count + 1, dtype=np.uint64), np.zeros(count + 1, dtype=np.int64)
        above, bits = np.concatenate(parents), np.uint64(1) << np.concatenate(phones).astype(np.uint64)
        np.bitwise_or.at(masks, above, bits)
        child[above[::-1]] = np.arange(count - 1, 0, -1)
        nowhere = np.zeros(1, dtype=np.int64)
        depths = np.repeat([*range(deepest + 1), 0], [*counts, 1])
        return Tree(masks, child, depths, *map(np.concatenate, ([*best, [-np.inf]], [*row, nowhere], [*rows, nowhere])))
