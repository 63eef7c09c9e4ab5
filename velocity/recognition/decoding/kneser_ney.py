"""Word n-gram models from text: interpolated modified Kneser–Ney smoothing, written as ARPA.

Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling", with the conventions of KenLM's
``lmplz`` (Heafield et al. 2013), which no Python package includes: n-grams that begin a sentence keep their own
counts, and the unigrams are interpolated with the uniform distribution over all words, ``</s>`` and ``<unk>``.

All counts are in memory, about 450 bytes per n-gram: for texts of up to ten million words or so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from velocity.files import atomic_path

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
FALLBACK = (0.5, 1.0, 1.5)  # discounts if a text is too small or too regular to estimate them, as in lmplz

Words = tuple[str, ...]


@dataclass(frozen=True)
class NGramModel:
    """``probabilities[n]``: n + 1 words → the probability of the last one after the others. ``backoffs[n]``: n + 1
    words → the probability left for words not seen after them, which the model of ``n`` words distributes."""

    order: int
    probabilities: list[dict[Words, float]]
    backoffs: list[dict[Words, float]]

    def probability(self, word: str, history: Words = ()) -> float:
        """The probability of ``word`` after ``history``, whose last ``order - 1`` words count."""
        word = word if (word,) in self.probabilities[0] else UNKNOWN
        history = history[len(history) - min(len(history), self.order - 1) :]
        share = 1.0
        while (found := self.probabilities[len(history)].get((*history, word))) is None:
            share *= self.backoffs[len(history) - 1].get(history, 1.0)
            history = history[1:]
        return share * found


def estimate(sentences: Iterable[str], order: int, prune: int = 0) -> NGramModel:
    """The model of ``sentences``, words separated by spaces; KenLM reads ``order`` 2 and above.

    ``prune``: n-grams of three and more words seen at most this often are left out; their mass goes to shorter ones.
    """
    raw = _count(sentences, order)
    adjusted = [*(_continuations(shorter, longer) for shorter, longer in pairwise(raw)), raw[-1]]
    adjusted[0].pop((START,), None)  # never predicted
    words = [*(word for (word,) in adjusted[0]), UNKNOWN]
    below: dict[Words, float] = {(): 1.0 / len(words)}  # probability of the n-gram without its first word
    adjusted[0][UNKNOWN,] = 0
    probabilities, backoffs = [], []
    for index, counts in enumerate(adjusted):
        discounts = (0.0, *_discounts(counts))
        totals: Counter[Words] = Counter()
        freed: Counter[Words] = Counter()
        kept = {}
        for ngram, count in counts.items():
            history, discount = ngram[:-1], discounts[min(count, 3)]
            totals[history] += count
            if index >= 2 and raw[index][ngram] <= prune:
                freed[history] += count
            else:
                freed[history] += discount
                kept[ngram] = count - discount
        left = {history: freed[history] / total for history, total in totals.items()}
        here = {
            ngram: count / totals[ngram[:-1]] + left[ngram[:-1]] * below[ngram[1:]] for ngram, count in kept.items()
        }
        probabilities.append(here)
        if index:
            backoffs.append({history: share for history, share in left.items() if history in probabilities[-2]})
            backoffs[-1].update({history: share for history, share in left.items() if history == (START,)})
        below = here
    return NGramModel(order, probabilities, backoffs)


def _count(sentences: Iterable[str], order: int) -> list[Counter[Words]]:
    counts: list[Counter[Words]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        words = (START, *sentence.split(), END)
        for n, counter in enumerate(counts, start=1):
            counter.update(words[first : first + n] for first in range(len(words) - n + 1))
    return counts


def _continuations(shorter: Counter[Words], longer: Counter[Words]) -> Counter[Words]:
    """The number of different words before each n-gram; for n-grams that start a sentence, their count."""
    found = Counter(ngram[1:] for ngram in longer)
    found.update({ngram: count for ngram, count in shorter.items() if ngram[0] == START})
    return found


def _discounts(counts: Counter[Words]) -> tuple[float, float, float]:
    """The discounts of n-grams counted once, twice and more often (Chen & Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (sum(count == k for count in counts.values()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < discount < k for k, discount in enumerate(found, start=1)) else FALLBACK


def write_arpa(model: NGramModel, path: str | Path) -> None:
    """Write ``model`` in the ARPA format, sorted: the same text gives the same bytes."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.writelines(_lines(model))


def _lines(model: NGramModel) -> Iterator[str]:
    yield "\\data\\\n"
    for n, ngrams in enumerate(model.probabilities, start=1):
        yield f"ngram {n}={len(ngrams) + (n == 1)}\n"
    for n, ngrams in enumerate(model.probabilities, start=1):
        yield f"\n\\{n}-grams:\n"
        backoffs = model.backoffs[n - 1] if n < model.order else {}
        if n == 1:
            yield f"-99\t{START}{_backoff(backoffs.get((START,)))}\n"
        for ngram, probability in sorted(ngrams.items()):
            yield f"{math.log10(probability):.7f}\t{' '.join(ngram)}{_backoff(backoffs.get(ngram))}\n"
    yield "\n\\end\\\n"


def _backoff(share: float | None) -> str:
    return "" if share is None else f"\t{math.log10(share):.7f}"
