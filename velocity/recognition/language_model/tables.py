"""A back-off n-gram model as arrays: a trie whose children of a node are consecutive rows, sorted by word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from velocity.recognition.language_model.recurrent import Recurrent

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, START, END)  # the first words of every vocabulary, in this order
UNKNOWN_ID, START_ID, END_ID = range(3)
NEVER = -99 * np.log(10)  # the log-probability of <s>, as ARPA files write it


@dataclass(frozen=True)
class Values:
    """Natural logarithms: (n,) float32 as they are, or (n,) uint8 codes of a (256,) float32 ``codebook``."""

    codes: np.ndarray
    codebook: np.ndarray | None = None

    def decoded(self) -> np.ndarray:
        """(n,) float32."""
        return self.codes if self.codebook is None else self.codebook[self.codes]

    def at(self, rows: np.ndarray) -> np.ndarray:
        """(rows,) → the values there (rows,) float64."""
        codes = self.codes[rows]
        return (codes if self.codebook is None else self.codebook[codes]).astype(np.float64)


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, sorted by their words.

    ``words`` (rows,): the id of the last word. ``log_probs`` (rows,): of the last word after the others.
    ``contexts`` (c,) uint32: the rows that longer n-grams begin with, or that have a back-off other than 0, ascending.
    ``first`` (c + 1,) uint32: the n-grams that begin with context i are rows first[i] … first[i + 1] of the next level.
    ``backoffs`` (c,): what a word that does not follow context i costs. The longest n-grams have no contexts.
    """

    words: np.ndarray
    log_probs: Values
    contexts: np.ndarray
    first: np.ndarray
    backoffs: Values


@dataclass(frozen=True)
class Tables:
    """``words``: id → word, the special ones first, the others sorted. ``levels[n]``: the n-grams of n + 1 words.

    ``pronunciations``: id → the classes of the word's phones (``velocity.phones``), empty for words without.
    ``recurrent``: the network that is mixed with the n-grams.
    """

    words: Sequence[str]
    levels: Sequence[Level]
    pronunciations: Sequence[bytes] | None = None
    recurrent: Recurrent | None = None

    @property
    def order(self) -> int:
        return len(self.levels)

    def prefixes(self, level: int) -> np.ndarray:
        """(rows,) the row of the level below that each n-gram of ``level``, above 0, begins with."""
        below = self.levels[level - 1]
        return np.repeat(below.contexts, np.diff(below.first.astype(np.int64)))


def build_tables(
    words: Sequence[str], levels: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
) -> Tables:
    """Tables of, for each length, (prefix row below, word id, log-probability, back-off), each (rows,) and sorted."""
    small = np.uint16 if len(words) <= 1 << 16 else np.uint32
    built = []
    for index, (_, ids, log_probs, backoffs) in enumerate(levels):
        children = np.zeros(len(ids), dtype=np.int64)
        if index + 1 < len(levels):
            children = np.bincount(levels[index + 1][0], minlength=len(ids))
        contexts = np.flatnonzero((children > 0) | (backoffs != 0)) if index + 1 < len(levels) else np.empty(0, int)
        first = np.concatenate([[0], np.cumsum(children[contexts])]).astype(np.uint32)
        built.append(
            Level(
                ids.astype(small),
                Values(log_probs.astype(np.float32)),
                contexts.astype(np.uint32),
                first,
                Values(backoffs[contexts].astype(np.float32)),
            )
        )
    return Tables(words, built)
