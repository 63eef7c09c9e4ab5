"""Prefix beam search against every path there is, alone and with a language model and hot words."""

from __future__ import annotations

import math
from itertools import groupby, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.recognition.decoding.beam import Labelling, PrefixBeamSearch
from velocity.recognition.decoding.fusion import UNKNOWN_WORD, TextFusion
from velocity.recognition.decoding.hotwords import HotWords

PIECES = ["", " ", "a", "b"]  # class → what it writes
EVERYTHING = {"beam": 10**6, "tokens": 99, "floor": -math.inf, "margin": math.inf}


@st.composite
def posteriors(draw: st.DrawFn, most: int = 5, classes: int = 4) -> np.ndarray:
    """(frames, V), some classes impossible, some frames sure."""
    frames = draw(st.integers(1, most))
    weight = st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0])
    weights = np.array(draw(st.lists(weight, min_size=frames * classes, max_size=frames * classes)))
    weights = weights.reshape(frames, classes)
    weights[:, draw(st.integers(0, classes - 1))] += 0.05
    with np.errstate(divide="ignore"):
        return np.log(weights / weights.sum(1, keepdims=True))


def labellings(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every labelling, summed over all its paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = tuple(token for token, _ in groupby(path) if token)
        found[labels] = found.get(labels, 0.0) + math.exp(sum(log_probs[range(len(path)), path]))
    return {labels: probability for labels, probability in found.items() if probability > 0}


def search(log_probs: np.ndarray, blank: int = 0, **options: Any) -> list[Labelling]:
    found = PrefixBeamSearch(blank, **options)
    found.accept(log_probs)
    return found.labellings()


def text_of(labels: tuple[int, ...]) -> str:
    return " ".join("".join(PIECES[token] for token in labels).split())


@settings(max_examples=60)
@given(posteriors())
def test_unpruned_probabilities_are_those_of_all_paths(log_probs: np.ndarray) -> None:
    found = {tuple(f.tokens): f.score for f in search(log_probs, **EVERYTHING)}
    expected = labellings(log_probs)
    assert found.keys() == expected.keys()
    for labels, log_prob in found.items():
        assert log_prob == pytest.approx(math.log(expected[labels]), abs=1e-9)


@settings(max_examples=60)
@given(posteriors(), st.integers(1, 6))
def test_pruning_loses_probability_and_never_invents_any(log_probs: np.ndarray, beam: int) -> None:
    found, expected = search(log_probs, beam=beam), labellings(log_probs)
    assert 1 <= len(found) <= beam
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    for f in found:
        assert f.score <= math.log(expected[tuple(f.tokens)]) + 1e-9


@settings(max_examples=60)
@given(posteriors(most=12), st.lists(st.integers(0, 12), max_size=4), st.integers(1, 6))
def test_frames_in_pieces_are_the_frames_at_once(log_probs: np.ndarray, ends: list[int], beam: int) -> None:
    pieces = PrefixBeamSearch(0, beam)
    for piece in np.split(log_probs, sorted(min(end, len(log_probs)) for end in ends)):
        pieces.accept(piece)
        pieces.labellings()  # asking changes nothing
    assert pieces.labellings() == search(log_probs, beam=beam)


def test_another_blank_and_the_classic_difference_from_the_best_path() -> None:
    log_probs = np.log([[0.4, 0.6], [0.4, 0.6]])  # the best path is two blanks, but three paths write the label
    (best, *_) = search(log_probs, blank=1, beam=4)
    assert best.tokens == [0]
    assert best.score == pytest.approx(math.log(0.64))


class Toy:
    """A language model of ``a``, ``b`` and ``ab`` that likes no word twice in a row."""

    unigrams = {"a": -0.4, "b": -1.5, "ab": -2.0}  # noqa: RUF012
    unknown = -6.0

    def start(self) -> str:
        return "<s>"

    def word(self, state: str, word: str) -> tuple[str, float]:
        return word, self.unigrams.get(word, self.unknown) - 2.0 * (word == state)

    def end(self, state: str) -> float:
        return -0.3 if state == "b" else -1.1

    def __contains__(self, word: str) -> bool:
        return word in self.unigrams

    def best_beginning(self, letters: str) -> float | None:
        return max((value for word, value in self.unigrams.items() if word.startswith(letters)), default=None)


def judged(text: str, lm: Toy | None, hot: dict[str, float], weight: float, bonus: float) -> float:
    """The bonus of a whole text, straight from the definition."""
    total, state = 0.0, "<s>"
    for word in text.split():
        total += bonus
        if lm:
            state, log_prob = lm.word(state, word)
            known = word in lm or any(word in phrase.split() for phrase in hot)
            total += weight * log_prob + (0.0 if known else UNKNOWN_WORD)
    total += weight * lm.end(state) if lm else 0.0
    words = text.split()
    for phrase, nats in hot.items():
        sought = phrase.split()
        times = sum(words[i : i + len(sought)] == sought for i in range(len(words)))
        total += times * nats * len(phrase.replace(" ", ""))
    return total


@settings(max_examples=60)
@given(
    posteriors(most=5),
    st.booleans(),
    st.dictionaries(st.sampled_from(["a", "b", "ab", "a b", "b a", "a a", "bb"]), st.sampled_from([0.5, 2.0])),
    st.sampled_from([0.3, 1.0]),
    st.sampled_from([0.0, 1.5]),
)
def test_fusion_scores_every_labelling_by_its_text(log_probs, with_lm, hot, weight, bonus) -> None:
    lm = Toy() if with_lm else None
    fusion = TextFusion(PIECES, lm, HotWords(hot) if hot else None, weight, bonus)
    found = search(log_probs, fusion=fusion, **EVERYTHING)
    expected = {
        labels: math.log(probability) + judged(text_of(labels), lm, hot, weight, bonus)
        for labels, probability in labellings(log_probs).items()
    }
    assert {tuple(f.tokens) for f in found} == expected.keys()
    for f in found:
        assert f.score == pytest.approx(expected[tuple(f.tokens)], abs=1e-9)


@given(st.text(alphabet=" ab", max_size=30), st.sets(st.sampled_from(["a", "ab", "b a", "ba ab", "aa"]), min_size=1))
def test_hot_phrases_are_found_wherever_whole_words_match(text: str, phrases: set[str]) -> None:
    hot = HotWords(dict.fromkeys(phrases, 1.0))
    words = text.split()
    place, earned = hot.start, 0.0
    for character in " ".join(words) + " ":
        place, reward = hot.step(place, character)
        earned += reward
    assert earned == judged(text, None, dict.fromkeys(phrases, 1.0), 0.0, 0.0)
