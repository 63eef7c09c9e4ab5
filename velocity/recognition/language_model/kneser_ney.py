"""Interpolated modified Kneser–Ney smoothing (Chen & Goodman 1998), with the conventions of KenLM's ``lmplz`` (Heafield
et al. 2013): n-grams that begin a sentence keep their own counts, and the unigrams are interpolated with the uniform
distribution over all words, ``</s>`` and ``<unk>``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from velocity.recognition.language_model.counts import Counts, count, read_words, selected
from velocity.recognition.language_model.recurrent import Recurrent
from velocity.recognition.language_model.tables import NEVER, START_ID, UNKNOWN_ID, Tables, build_tables

FALLBACK = (0.5, 1.0, 1.5)  # discounts if a text is too small or too regular to estimate them, as in lmplz


@dataclass(frozen=True)
class Estimates:
    """What a model is built from, or pruned: for each length the counts and, (rows,) float64 each, ``probabilities``
    of the last word and ``shares``: what is left for words not seen after the n-gram (none for the longest).
    ``pronunciations`` and
    ``recurrent`` are those of ``Tables``."""

    words: Sequence[str]
    counts: Sequence[Counts]
    probabilities: Sequence[np.ndarray]
    shares: Sequence[np.ndarray]
    pronunciations: Sequence[bytes] | None = None
    recurrent: Recurrent | None = None

    def tables(self) -> Tables:
        levels = []
        for n, (counts, probabilities) in enumerate(zip(self.counts, self.probabilities, strict=True)):
            with np.errstate(divide="ignore"):
                log_probs = np.log(probabilities)
                backoffs = np.log(self.shares[n]) if n < len(self.shares) else np.zeros(len(log_probs))
            if n == 0:
                log_probs[START_ID] = NEVER
            levels.append((counts.prefix, counts.word, log_probs, backoffs))
        tables = build_tables(self.words, levels)
        return replace(tables, pronunciations=self.pronunciations, recurrent=self.recurrent)


def estimate(sentences: Iterable[str], order: int, prune: int = 0, vocabulary: int | None = None) -> Estimates:
    """The model of ``sentences``, words separated by spaces.

    ``prune``: n-grams of three and more words seen at most this often are left out; their mass goes to shorter ones.
    ``vocabulary``: the number of words, most frequent first; without it, all.
    """
    words, text = read_words(sentences, vocabulary)
    return smooth(words, count(text, words, order), prune)


def smooth(words: Sequence[str], raw: Sequence[Counts], prune: int = 0) -> Estimates:
    adjusted = [*(_continuations(shorter, longer) for shorter, longer in pairwise(raw)), raw[-1].count.copy()]
    adjusted[0][[START_ID, UNKNOWN_ID]] = 0  # the first is never predicted
    below = np.full(1, 1 / (len(words) - 1))  # probability of the n-gram without its first word
    probabilities, shares, kept_counts = [], [], []
    kept_before = np.ones(1, dtype=bool)  # the mask one length below
    renumbered = None  # old row one length below → new row
    for index, (counts, times) in enumerate(zip(raw, adjusted, strict=True)):
        discount = np.array((0.0, *_discounts(times[np.arange(len(times)) != UNKNOWN_ID] if index == 0 else times)))
        freed = discount[np.minimum(times, 3)]
        kept = counts.count > prune if index >= 2 else np.ones(len(times), dtype=bool)
        freed[~kept] = times[~kept]
        histories = len(raw[index - 1].count) if index else 1
        totals = np.bincount(counts.prefix, weights=times, minlength=histories)
        left = np.bincount(counts.prefix, weights=freed, minlength=histories)
        share = np.divide(left, totals, out=np.ones(histories), where=totals > 0)
        total = np.maximum(totals[counts.prefix], 1)
        lower = below[counts.suffix if index else np.zeros(len(times), dtype=int)]
        here = (times - freed) / total + share[counts.prefix] * lower
        if index:
            shares.append(share[kept_before])
        below, kept_before = here, kept
        probabilities.append(here[kept])
        number = np.cumsum(kept, dtype=np.int64).astype(np.int32) - 1
        kept_counts.append(selected(counts, kept, renumbered) if index else counts)
        renumbered = number
    return Estimates(words, kept_counts, probabilities, shares)


def _continuations(shorter: Counts, longer: Counts) -> np.ndarray:
    """The number of different words before each n-gram; for n-grams that start a sentence, their count."""
    return np.where(shorter.starts, shorter.count, np.bincount(longer.suffix, minlength=len(shorter.count)))


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """The discounts of n-grams counted once, twice and more often (Chen & Goodman 1998, equation 26)."""
    _, n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < discount < k for k, discount in enumerate(found, start=1)) else FALLBACK
