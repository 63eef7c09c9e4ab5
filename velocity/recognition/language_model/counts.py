"""The n-grams of a text and their counts, as sorted arrays."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from velocity.recognition.language_model.tables import END_ID, SPECIAL, START_ID, UNKNOWN_ID

CHUNK = 1 << 21  # positions of the text sorted at a time


@dataclass(frozen=True)
class Counts:
    """The different n-grams of one length, sorted by ``prefix`` and ``word``; every array is (rows,).

    ``prefix``, ``suffix``: the row, one length below, of the n-gram without its last or its first word; 0 for unigrams.
    ``starts``: the n-gram begins with <s>.
    """

    prefix: np.ndarray
    suffix: np.ndarray
    word: np.ndarray
    count: np.ndarray
    starts: np.ndarray


def read_words(sentences: Iterable[str], vocabulary: int | None = None) -> tuple[list[str], np.ndarray]:
    """(the words, the text as their ids): each sentence of words separated by spaces, between <s> and </s>.

    ``vocabulary``: the most frequent words to keep, of equal ones the first in the alphabet; others become <unk>.
    Memory: four bytes a word of text.
    """
    index: dict[str, int] = {word: i for i, word in enumerate(SPECIAL)}
    text = array("I")
    for sentence in sentences:
        text.append(START_ID)
        text.extend([index.setdefault(word, len(index)) for word in sentence.split()])
        text.append(END_ID)
    ids = np.frombuffer(text, dtype=np.uint32) if text else np.empty(0, dtype=np.uint32)
    found = list(index)
    own = sorted(found[len(SPECIAL) :])
    if vocabulary is not None and len(own) > vocabulary:
        counts = np.bincount(ids, minlength=len(index)).tolist()
        own = sorted(sorted(own, key=lambda word: -counts[index[word]])[:vocabulary])
    words = [*SPECIAL, *own]
    new = np.full(len(index), UNKNOWN_ID, dtype=np.uint32)
    new[[index[word] for word in words]] = np.arange(len(words))
    return words, new[ids]


def count(text: np.ndarray, words: Sequence[str], order: int, after: Callable[[], None] = lambda: None) -> list[Counts]:
    """The n-grams of one to ``order`` words of ``text`` (positions,) uint32. Those with an unknown word are left out,
    except the unigram. Row i of the unigrams is word i. ``after`` is called after each length.

    The text is sorted in chunks: besides the n-grams it takes a fixed amount of memory, and four bytes a position.
    """
    size = len(words)
    totals = np.bincount(text, minlength=size)
    nothing = np.zeros(size, dtype=np.int32)
    unigrams = Counts(nothing, nothing, np.arange(size, dtype=np.int32), totals, np.arange(size) == START_ID)
    found, rows, below = [unigrams], text.astype(np.int32), None
    rows[text == UNKNOWN_ID] = -1
    after()
    for n in range(2, order + 1):
        keys, counts = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        for chunk in _keys(rows, text, n, size):
            more, times = np.unique(chunk[chunk >= 0], return_counts=True)
            keys, counts = _merged(keys, counts, more, times)
        prefix, word = (keys // size).astype(np.int32), (keys % size).astype(np.int32)
        last = found[-1]
        suffix = word if below is None else np.searchsorted(below, last.suffix[prefix].astype(np.int64) * size + word)
        found.append(Counts(prefix, suffix.astype(np.int32), word, counts, last.starts[prefix]))
        if n < order:
            chunks = [_rows(chunk, keys) for chunk in _keys(rows, text, n, size)]
            rows = np.concatenate(chunks) if chunks else rows[:0]
        below = keys
        after()
    return found


def selected(counts: Counts, mask: np.ndarray, number: np.ndarray) -> Counts:
    """The rows of ``mask``; ``number``: old row one length below → new row."""
    prefix, suffix = number[counts.prefix[mask]], number[counts.suffix[mask]]
    return Counts(prefix, suffix, counts.word[mask], counts.count[mask], counts.starts[mask])


def _keys(rows: np.ndarray, text: np.ndarray, n: int, size: int) -> Iterator[np.ndarray]:
    """Chunks of: for each position, row of its (n - 1)-gram · size + the word that follows, or -1."""
    ends = len(text) - n + 1
    for start in range(0, max(ends, 0), CHUNK):
        stop = min(start + CHUNK, ends)
        before, word = rows[start:stop], text[start + n - 1 : stop + n - 1].astype(np.int64)
        inside = (before >= 0) & (word != UNKNOWN_ID) & (word != START_ID)  # <s> begins another sentence
        yield np.where(inside, before.astype(np.int64) * size + word, -1)


def _rows(chunk: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The row of each key, or -1: by its different keys, because a search for sorted ones is many times as fast."""
    different, inverse = np.unique(chunk, return_inverse=True)
    rows = np.searchsorted(keys, different).astype(np.int32)
    rows[different < 0] = -1
    return rows[inverse]


def _merged(keys: np.ndarray, counts: np.ndarray, more: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = np.concatenate([keys, more])
    order = np.argsort(both, kind="stable")  # of two sorted runs: timsort merges them
    both = both[order]
    first = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]])) if len(both) else np.empty(0, dtype=int)
    return both[first], np.add.reduceat(np.concatenate([counts, times])[order], first) if len(both) else counts
