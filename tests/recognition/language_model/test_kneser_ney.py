"""Kneser–Ney by hand, by its definition on dictionaries, and by its sums."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.recognition.language_model import counts as counting
from velocity.recognition.language_model.counts import count, read_words
from velocity.recognition.language_model.kneser_ney import FALLBACK, estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.tables import END, START, UNKNOWN

texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=5).map(" ".join), min_size=1, max_size=12)
History = tuple[str, ...]


def probability(model: NGram, word: str, history: History = ()) -> float:
    state = model.start() if history[:1] == (START,) else ()
    for before in history[history[:1] == (START,) :]:
        state, _ = model.word(state, before)
    return math.exp(model.end(state) if word == END else model.word(state, word)[1])


def test_a_bigram_model_by_hand() -> None:
    # "x y" twice, "x z" once; five n-grams at most, so the discounts are 0.5, 1 and 1.5.
    model = NGram.of(estimate(["x y", "x y", "x z"], order=2).tables())
    # Contexts before each word: x {<s>}, y {x}, z {x}, </s> {y, z}: 5 in all. Uniform: x, y, z, </s>, <unk>.
    left = (0.5 + 0.5 + 0.5 + 1.0) / 5
    unigram = dict.fromkeys("xyz", (1 - 0.5) / 5 + left / 5) | {END: (2 - 1.0) / 5 + left / 5, UNKNOWN: left / 5}
    for word, expected in unigram.items():
        assert probability(model, word) == pytest.approx(expected)
    # After x: y twice, z once. What the discounts free is shared out by the unigrams.
    freed = (1.0 + 0.5) / 3
    assert probability(model, "y", ("x",)) == pytest.approx((2 - 1.0) / 3 + freed * unigram["y"])
    assert probability(model, "z", ("x",)) == pytest.approx((1 - 0.5) / 3 + freed * unigram["z"])
    assert probability(model, "x", ("x",)) == pytest.approx(freed * unigram["x"])
    # A sentence always begins with x, three times: the discount is the one for three and more.
    assert probability(model, "x", (START,)) == pytest.approx((3 - 1.5) / 3 + 1.5 / 3 * unigram["x"])


class Reference:
    """Chen & Goodman's equations on dictionaries, without a thought for memory."""

    def __init__(self, sentences: list[str], order: int, prune: int) -> None:
        raw: list[Counter[History]] = [Counter() for _ in range(order)]
        for sentence in sentences:
            words = (START, *sentence.split(), END)
            for n, counter in enumerate(raw, start=1):
                counter.update(words[i : i + n] for i in range(len(words) - n + 1))
        adjusted = []
        for shorter, longer in pairwise(raw):
            adjusted.append(Counter(ngram[1:] for ngram in longer))
            adjusted[-1].update({ngram: times for ngram, times in shorter.items() if ngram[0] == START})
        adjusted.append(raw[-1])
        del adjusted[0][START,]
        self.below = {(): 1 / (len(adjusted[0]) + 1)}
        self.levels, self.left = [], []
        adjusted[0][UNKNOWN,] = 0
        for n, level in enumerate(adjusted):
            discounts = (0.0, *self.discounts(level))
            totals, freed, kept = Counter(), Counter(), {}
            for ngram, times in level.items():
                totals[ngram[:-1]] += times
                cut = n >= 2 and raw[n][ngram] <= prune
                freed[ngram[:-1]] += times if cut else discounts[min(times, 3)]
                if not cut:
                    kept[ngram] = times - discounts[min(times, 3)]
            left = {history: freed[history] / totals[history] for history in totals}
            below = self.levels[-1] if n else {}
            self.levels.append(
                {
                    ngram: value / totals[ngram[:-1]] + left[ngram[:-1]] * (below[ngram[1:]] if n else self.below[()])
                    for ngram, value in kept.items()
                }
            )
            self.left.append(left)

    @staticmethod
    def discounts(level: Counter[History]) -> tuple[float, float, float]:
        n1, n2, n3, n4 = (sum(times == k for times in level.values()) for k in (1, 2, 3, 4))
        if not (n1 and n2 and n3 and n4):
            return FALLBACK
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        return found if all(0 < d < k for k, d in enumerate(found, start=1)) else FALLBACK

    def probability(self, word: str, history: History) -> float:
        word = word if (word,) in self.levels[0] else UNKNOWN
        history = history[max(0, len(history) - len(self.levels) + 1) :]
        share = 1.0
        while (found := self.levels[len(history)].get((*history, word))) is None:
            share *= self.left[len(history)].get(history, 1.0)
            history = history[1:]
        return share * found


@settings(max_examples=25)
@given(texts, st.integers(2, 4), st.integers(0, 2), st.lists(st.sampled_from("abcdx"), max_size=6))
def test_it_equals_the_definition(sentences: list[str], order: int, prune: int, words: list[str]) -> None:
    model = NGram.of(estimate(sentences, order, prune).tables())
    reference, state, history = Reference(sentences, order, prune), model.start(), (START,)
    for word in words:
        after, log_prob = model.word(state, word)
        assert log_prob == pytest.approx(math.log(reference.probability(word, history)), abs=1e-5)
        assert model.end(state) == pytest.approx(math.log(reference.probability(END, history)), abs=1e-5)
        state, history = after, (*history, word)


@settings(max_examples=15)
@given(texts, st.integers(1, 4), st.integers(0, 2))
def test_probabilities_after_any_history_sum_to_one(sentences: list[str], order: int, prune: int) -> None:
    model = NGram.of(estimate(sentences, order, prune).tables())
    vocabulary = [*sorted({word for sentence in sentences for word in sentence.split()}), END, UNKNOWN]
    for history in [(), (START,), ("a",), ("a", "b"), (START, "a", "b"), ("b", "unheard", "a"), ("d", "c", "b", "a")]:
        assert sum(probability(model, word, history) for word in vocabulary) == pytest.approx(1.0, abs=1e-5)


@settings(max_examples=15)
@given(texts, st.integers(2, 4))
def test_sorting_in_chunks_changes_nothing(sentences: list[str], order: int) -> None:
    words, text = read_words(sentences)
    whole = count(text, words, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "CHUNK", 3)
        parts = count(text, words, order)
    for one, other in zip(whole, parts, strict=True):
        for name in ("prefix", "suffix", "word", "count", "starts"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_rare_words_outside_the_vocabulary_are_unknown_and_in_no_ngram() -> None:
    sentences = ["the cat sat", "the cat ran", "the dog sat"]
    model = NGram.of(estimate(sentences, 2, vocabulary=3).tables())
    assert [word in model for word in ("the", "cat", "sat", "dog", "ran")] == [True, True, True, False, False]
    assert model.word((), "dog")[1] == model.unknown
    assert model.word((), "ran")[0] == (-1,)  # nothing follows an unknown word but what follows any word
