"""The probabilities of words by a back-off n-gram model (Katz 1987): what ``--lm`` names, and what ships."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import numpy as np

from velocity.errors import VelocityError
from velocity.recognition.language_model.arpa import read_arpa
from velocity.recognition.language_model.file import MAGIC, read_file
from velocity.recognition.language_model.tables import END_ID, SPECIAL, START_ID, UNKNOWN_ID, Level, Tables, Values

AFTER_LETTERS = "\x7f"  # sorts after every letter of a word
KENLM = b"mmap lm http://kheafield.com/code"
MOST_CACHED = 1 << 16  # scores, about 200 bytes each

State = tuple[int, ...]  # the contexts that end with the last word, of one word, two words …; -1: unknown


class NGram:
    """Log-probabilities of words, natural logarithms. ``unknown``: of any word outside the vocabulary. ``words``,
    ``unigrams`` (words,) and ``pronunciations``, if there are any: those of each id. ``recurrent``: a network that
    these log-probabilities are without, as only the search for words in phones mixes it with them.

    Equal to KenLM's for the same ARPA file. May be shared by threads.
    """

    def __init__(self, path: str | Path) -> None:
        """A file of ``velocity-asr lm build``, mapped into memory, or an ARPA file, which is parsed first.

        Raises VelocityError when ``path`` is missing, damaged or neither of them.
        """
        self._open(read_tables(path))

    @classmethod
    def of(cls, tables: Tables) -> NGram:
        """The model of tables in memory."""
        model = cls.__new__(cls)
        model._open(tables)
        return model

    def _open(self, tables: Tables) -> None:
        self.words, self.pronunciations, self.recurrent = tables.words, tables.pronunciations, tables.recurrent
        levels = self.levels = tables.levels
        # Views of the map: indexing one gives a Python number, several times as fast as indexing an array.
        self._children = [memoryview(level.words) for level in levels[1:]]
        self._context_of = [_contexts(level) for level in levels[:-1]]
        self._contexts = [memoryview(contexts) for contexts in self._context_of]
        self._first = [memoryview(level.first) for level in levels[:-1]]
        self._log_probs = [_values(level.log_probs) for level in levels]
        self._backoffs = [_values(level.backoffs) for level in levels[:-1]]
        self.unigrams = levels[0].log_probs.decoded()
        self.unknown = float(self.unigrams[UNKNOWN_ID])
        self._scores: dict[tuple[State, int], tuple[State, float]] = {}

    def start(self) -> State:
        """The state at the beginning of a sentence."""
        return self._after([START_ID])

    def word(self, state: State, word: str) -> tuple[State, float]:
        """(the state after ``word``, its log-probability)."""
        return self.score(state, self.id(word))

    def end(self, state: State) -> float:
        """The log-probability that the sentence ends."""
        return self.score(state, END_ID)[1]

    def __contains__(self, word: str) -> bool:
        return self.id(word) != UNKNOWN_ID

    def best_beginning(self, letters: str) -> float | None:
        """The log-probability of the most probable unigram that begins with ``letters``; None if no word does."""
        first = bisect_left(self.words, letters, len(SPECIAL))
        last = bisect_left(self.words, letters + AFTER_LETTERS, first)
        return float(self.unigrams[first:last].max()) if first < last else None

    @property
    def pronounces(self) -> bool:
        """Whether its words have pronunciations."""
        return self.pronunciations is not None and any(self.pronunciations)

    def pronunciation(self, word: str) -> bytes:
        """The classes of its phones, or none."""
        return self.pronunciations[self.id(word)] if self.pronunciations is not None else b""

    def id(self, word: str) -> int:
        """UNKNOWN_ID for a word outside the vocabulary."""
        place = bisect_left(self.words, word, len(SPECIAL))
        return place if place < len(self.words) and self.words[place] == word else UNKNOWN_ID

    def score(self, state: State, word: int) -> tuple[State, float]:
        """As ``word``, of a word's id."""
        found = self._scores.get((state, word))
        if found is None:
            if len(self._scores) >= MOST_CACHED:
                self._scores.clear()
            found = self._scores[state, word] = self._look_up(state, word)
        return found

    def _look_up(self, state: State, word: int) -> tuple[State, float]:
        rows = [word]  # of the n-grams that end with ``word``: of one word, of two …; -1 if there is none
        total, longest = 0.0, 0
        for length, context in enumerate(state, start=1):
            row = self._find(length, context, word) if context >= 0 else -1
            rows.append(row)
            if row >= 0:
                longest = length
        for length in range(len(state), longest, -1):
            if (context := state[length - 1]) >= 0:
                total += self._backoffs[length - 1](context)
        return self._after(rows), total + self._log_probs[longest](rows[longest])

    def _find(self, length: int, context: int, word: int) -> int:
        """The row of ``word`` after a context of ``length`` words, or -1."""
        words, first = self._children[length - 1], self._first[length - 1]
        end = first[context + 1]
        row = bisect_left(words, word, first[context], end)
        return row if row < end and words[row] == word else -1

    def _after(self, rows: list[int]) -> State:
        """The contexts of ``rows``, those that are missing being unknown."""
        found = zip_longest(rows[: len(self._contexts)], self._contexts, fillvalue=-1)
        return tuple(context[row] if row >= 0 else -1 for row, context in found)


def _contexts(level: Level) -> np.ndarray:
    """(rows,) int32 the context that each row is, or -1."""
    found = np.full(len(level.words), -1, dtype=np.int32)
    found[level.contexts] = np.arange(len(level.contexts))
    return found


def _values(values: Values) -> Callable[[int], float]:
    """Row → the value."""
    codes = memoryview(values.codes)
    if values.codebook is None:
        return codes.__getitem__
    book = values.codebook.tolist()
    return lambda row: book[codes[row]]


def read_tables(path: str | Path) -> Tables:
    """As ``NGram`` reads it. Raises VelocityError when ``path`` is missing, damaged or no language model."""
    try:
        with open(path, "rb") as file:
            head = file.read(len(KENLM))
    except FileNotFoundError as error:
        raise VelocityError(f"{path}: no such language model; `velocity-asr lm build` makes one from text") from error
    except OSError as error:
        raise VelocityError(f"{path}: cannot be read ({error.strerror})") from error
    if head.startswith(MAGIC):
        return read_file(path)
    if head == KENLM:
        raise VelocityError(f"{path}: a KenLM binary, which cannot be read; use the ARPA file it was made from")
    return read_arpa(path)
