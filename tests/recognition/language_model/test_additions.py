"""A list of words in a language model: beside the mixture computed word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.recognition.language_model.additions import with_words
from velocity.recognition.language_model.file import read_file, write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.pruning import quantise
from velocity.recognition.language_model.tables import SPECIAL, Tables

SENTENCES = ["the cat sat", "the cat ran", "a dog sat", "the dog ran off", "off the cat ran", "a cat", "dog dog dog"]


def after(model: NGram, *words: str) -> dict[str, float]:
    """The probability of each word of the vocabulary after ``words``."""
    state = model.start()
    for word in words:
        state, _ = model.word(state, word)
    predicted = [word for word in model.words if word != "<s>"]
    return {word: math.exp(model.end(state) if word == "</s>" else model.word(state, word)[1]) for word in predicted}


@pytest.mark.parametrize("order", [1, 2])
def test_probabilities_add_up_to_one_after_every_word(order: int) -> None:
    model = NGram.of(with_words(estimate(SENTENCES, order).tables(), ["zebra", "cat"], 0.1))
    for words in ([], ["cat"], ["the"], ["zebra"], ["dog", "zebra"]):
        assert sum(after(model, *words).values()) == pytest.approx(1, abs=1e-5)


@given(st.lists(st.sampled_from(["aardvark", "cat", "mouse", "zebra", "dog"]), min_size=1), st.floats(0.01, 0.5))
@settings(max_examples=30, deadline=None)
def test_unigrams_are_the_mixture(words: list[str], share: float) -> None:
    tables = estimate(SENTENCES, 3).tables()
    old, new = NGram.of(tables), NGram.of(with_words(tables, words, share))
    before, mixed = after(old, "</s>"), after(new, "</s>")  # nothing follows the end: unigrams
    listed = set(words)
    for word, probability in mixed.items():
        expected = (1 - share) * before.get(word, 0.0) + (share / len(listed) if word in listed else 0.0)
        assert probability == pytest.approx(expected, rel=1e-4)


def test_what_was_seen_together_keeps_its_probability() -> None:
    tables = estimate(SENTENCES, 3).tables()
    old, new = NGram.of(tables), NGram.of(with_words(tables, ["aardvark"], 0.2))
    assert after(new, "the")["cat"] == pytest.approx(after(old, "the")["cat"], rel=1e-5)
    assert after(new, "the", "cat")["ran"] == pytest.approx(after(old, "the", "cat")["ran"], rel=1e-5)
    assert "aardvark" in new
    assert "aardvark" not in old


def test_eight_bits_stay_eight_bits_and_the_file_is_read_again(tmp_path) -> None:
    tables = quantise(estimate(SENTENCES, 3).tables())
    mixed = with_words(tables, ["aardvark"], 0.1)
    assert all(level.log_probs.codes.dtype == np.uint8 for level in mixed.levels)
    write_file(mixed, tmp_path / "mixed.lm")
    found, exact = read_file(tmp_path / "mixed.lm"), with_words(estimate(SENTENCES, 3).tables(), ["aardvark"], 0.1)
    for word, probability in after(NGram.of(exact), "the").items():
        assert after(NGram.of(found), "the")[word] == pytest.approx(probability, rel=0.1)


def test_more_words_than_sixteen_bits_can_count() -> None:
    tables = estimate(SENTENCES, 2).tables()
    many = with_words(tables, (f"w{number:06d}" for number in range(70_000)), 0.1)
    assert many.levels[1].words.dtype == np.uint32
    assert after(NGram.of(many), "the")["cat"] == pytest.approx(after(NGram.of(tables), "the")["cat"], rel=1e-5)


def test_the_words_are_sorted_after_the_special_ones() -> None:
    mixed: Tables = with_words(estimate(SENTENCES, 2).tables(), ["zebra", "aardvark"])
    assert mixed.words[: len(SPECIAL)] == list(SPECIAL)
    assert mixed.words[len(SPECIAL) :] == sorted(mixed.words[len(SPECIAL) :])
