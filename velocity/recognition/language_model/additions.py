"""A language model that knows a list of words: mixed with their uniform distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from velocity.recognition.language_model.pruning import quantise
from velocity.recognition.language_model.tables import NEVER, SPECIAL, START_ID, Tables, Values

SHARE = 0.05  # of the listed words in the text to be recognised


def with_words(
    tables: Tables,
    words: Iterable[str],
    share: float = SHARE,
    pronounce: Callable[[list[str]], Mapping[str, bytes]] | None = None,
) -> Tables:
    """p' = (1 − ``share``) · p + ``share`` / n for the n listed words, known before or not.

    Only the unigrams are mixed. Longer n-grams stay, and the back-offs of single words are scaled so that probabilities
    add up to 1 after each of them. To a recurrent network new words are rare ones. Values of eight bits stay of eight
    bits. ``pronounce``, words → their pronunciations, is asked for those of new words if the others have theirs;
    without it new words have none.
    """
    listed = sorted(set(words))
    vocabulary = [*SPECIAL, *sorted({*tables.words[len(SPECIAL) :], *listed})]
    place = {word: number for number, word in enumerate(vocabulary)}
    moved = np.array([place[word] for word in tables.words])  # old id → new id, ascending, so that all stays sorted
    before = np.exp(tables.levels[0].log_probs.decoded().astype(np.float64))
    after = np.zeros(len(vocabulary))
    after[moved] = (1 - share) * before
    after[[place[word] for word in listed]] += share / len(listed)
    log_probs = np.log(after)
    log_probs[START_ID] = NEVER

    ids = np.uint16 if len(vocabulary) <= 1 << 16 else np.uint32
    unigrams = replace(tables.levels[0], words=np.arange(len(vocabulary)), log_probs=Values(log_probs.astype("f4")))
    longer = [replace(level, words=moved[level.words].astype(ids)) for level in tables.levels[1:]]
    if longer:
        left = _left(before, tables) / _left(after[moved], tables)
        backoffs = unigrams.backoffs.decoded() + np.log(left)
        contexts = moved[unigrams.contexts].astype(np.uint32)
        unigrams = replace(unigrams, contexts=contexts, backoffs=Values(backoffs.astype("f4")))
    network = tables.recurrent and replace(tables.recurrent, words=moved[tables.recurrent.words].astype(np.uint32))
    mixed = Tables(vocabulary, [unigrams, *longer], _pronunciations(tables, vocabulary, pronounce), network)
    return quantise(mixed) if any(level.log_probs.codebook is not None for level in tables.levels) else mixed


def _pronunciations(
    tables: Tables, vocabulary: list[str], pronounce: Callable[[list[str]], Mapping[str, bytes]] | None
) -> list[bytes] | None:
    if tables.pronunciations is None:
        return None
    known = dict(zip(tables.words, tables.pronunciations, strict=True))
    new = [word for word in vocabulary if word not in known]
    known.update(pronounce(new) if pronounce and new else {})
    return [known.get(word, b"") for word in vocabulary]


def _left(unigrams: np.ndarray, tables: Tables) -> np.ndarray:
    """(contexts,) what the unigrams give to words that do not follow each single word."""
    sums = np.concatenate([[0.0], np.cumsum(unigrams[tables.levels[1].words])])
    first = tables.levels[0].first.astype(np.int64)
    return np.maximum(1 - (sums[first[1:]] - sums[first[:-1]]), 1e-9)
