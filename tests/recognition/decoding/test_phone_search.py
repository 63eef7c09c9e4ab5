"""The search for words by their phones, against every labelling and spelling and their scores by definition."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recognition.decoding.test_beam import EVERYTHING, labellings, posteriors
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.decoding.fusion import UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.decoding.phone_search import PhoneSearch, Result
from velocity.recognition.decoding.vocabulary import MODULE, NO_WORD, Vocabulary
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.tables import END, NEVER, START, UNKNOWN, build_tables

UNKNOWN_PHONE = -2.0  # as in common.h

UNIGRAMS = {UNKNOWN: -6.0, START: NEVER, END: -1.1, "a": -0.4, "ab": -2.0, "b": -1.5, "bee": -1.7, "mute": -0.1}
WORDS = list(UNIGRAMS)
SOUNDS = {"a": b"\2", "ab": b"\2\3", "b": b"\3", "bee": b"\3"}
HOT = st.dictionaries(st.sampled_from(["bee", "ab", "a bee", "b a", "b ab", "baa"]), st.sampled_from([0.5, 2.0]))
ADDED = {"baa": b"\3\2\2"}  # to the hot words, as the lexicon lacks it


def toy(sounds: Mapping[str, bytes] = SOUNDS) -> NGram:
    """A model that likes no word twice in a row, so that the better homophone depends on the one before."""
    pairs = {(word, word): UNIGRAMS[word] - 2.0 for word in WORDS} | {("b", END): -0.3}
    grams = sorted((WORDS.index(one), WORDS.index(two), value) for (one, two), value in pairs.items())
    before, last, log_probs = np.array(grams).T
    every = np.arange(len(WORDS))
    unigrams = np.zeros(len(WORDS), int), every, np.array(list(UNIGRAMS.values())), np.zeros(len(WORDS))
    bigrams = before.astype(int), last.astype(int), log_probs, np.zeros(len(grams))
    tables = build_tables(WORDS, [unigrams, bigrams])
    return NGram.of(replace(tables, pronunciations=[sounds.get(word, b"") for word in WORDS]))


def vocabulary(
    hot: Mapping[str, float] = MappingProxyType({}),
    weight: float = 1.0,
    bonus: float = 0.0,
    sounds: Mapping[str, bytes] = SOUNDS,
) -> Vocabulary:
    return Vocabulary(toy(sounds), HotWords(hot) if hot else None, weight, bonus, ADDED if "baa" in hot else None)


def search(log_probs: np.ndarray, words: Vocabulary, **options) -> PhoneSearch:
    found = PhoneSearch(words, **options)
    found.accept(wide(log_probs))
    return found


def wide(log_probs: np.ndarray) -> np.ndarray:
    """With all classes, of which the others are impossible."""
    missing = CLASSES - log_probs.shape[1]
    return np.concatenate([log_probs, np.full((len(log_probs), missing), -np.inf)], axis=1)


def sure(*classes: int, rest: float = 0.02) -> np.ndarray:
    frames = np.full((len(classes), 4), rest)
    frames[np.arange(len(classes)), classes] = 1 - 3 * rest
    with np.errstate(divide="ignore"):
        return np.log(frames)


def texts(words: Vocabulary, results: list[Result]) -> dict[tuple[str, ...], float]:
    """The words, "" for what is none → the probability times the worth, of all results together."""
    found = defaultdict(float)
    for result in results:
        found[tuple(map(words.text, result.words))] += math.exp(result.score)
    return found


def rewards(words: list[str], hot: dict[str, float]) -> float:
    total = 0.0
    for phrase, nats in hot.items():
        sought = phrase.split()
        times = sum(words[i : i + len(sought)] == sought for i in range(len(words)))
        total += times * nats * len("".join(sought))
    return total


def every_text(
    log_probs: np.ndarray,
    hot: dict[str, float],
    weight: float = 1.0,
    bonus: float = 0.0,
    sounds: Mapping[str, bytes] = SOUNDS,
) -> dict[tuple[str, ...], float]:
    """As ``texts``, from the definition."""
    lm, found = toy(sounds), defaultdict(float)
    sounds = {**sounds, **(ADDED if "baa" in hot else {})}
    for labels, probability in labellings(log_probs).items():
        spellings, unknown = [[]], 0.0
        for is_boundary, phones in groupby(labels, key=lambda label: label == BOUNDARY):
            if not is_boundary:
                sound = bytes(phones)
                alike = [word for word, own in sounds.items() if own == sound]
                spellings = [[*words, word] for words in spellings for word in alike or [""]]
                unknown += 0.0 if alike else UNKNOWN_WORD + UNKNOWN_PHONE * len(sound)
        for words in spellings:
            total, state = rewards(words, hot) + unknown, lm.start()
            for word in words:
                state, log_prob = lm.score(state, lm.id(word))
                total += weight * log_prob + bonus
            found[tuple(words)] += probability * math.exp(total + weight * lm.end(state))
    return found


PRONUNCIATION = st.text("\2\3", min_size=1, max_size=3).map(str.encode)
LEXICON = st.fixed_dictionaries(dict.fromkeys(SOUNDS, PRONUNCIATION), optional={"mute": PRONUNCIATION})


@settings(max_examples=80)
@given(posteriors(most=6), HOT, st.sampled_from([0.3, 1.0]), st.sampled_from([0.0, 1.5]), st.just(SOUNDS) | LEXICON)
def test_unpruned_each_text_has_the_score_of_all_its_labellings(log_probs, hot, weight, bonus, sounds) -> None:
    words = vocabulary(hot, weight, bonus, sounds)
    expected = every_text(log_probs, hot, weight, bonus, sounds)
    found = texts(words, search(log_probs, words, **EVERYTHING, alike=10**6).results())
    assert found == {text: pytest.approx(score, rel=1e-9) for text, score in expected.items()}
    merged = search(log_probs, words, **EVERYTHING).results()
    assert sum(texts(words, merged).values()) == pytest.approx(sum(expected.values())), "merging loses nothing"
    assert texts(words, merged).keys() <= expected.keys()


@given(posteriors(most=8), HOT, st.integers(1, 6), st.integers(1, 3))
def test_pruning_never_adds_anything(log_probs: np.ndarray, hot: dict[str, float], beam: int, alike: int) -> None:
    words = vocabulary(hot)
    results = search(log_probs, words, beam=beam, alike=alike).results()
    assert [result.score for result in results] == sorted((result.score for result in results), reverse=True)
    everything = sum(every_text(log_probs, hot).values()) if len(log_probs) <= 5 else math.inf
    assert 0 < sum(texts(words, results).values()) <= everything * (1 + 1e-9)


@given(posteriors(most=12), st.lists(st.integers(0, 12), max_size=4), st.integers(1, 6), st.integers(1, 3))
def test_frames_in_pieces_are_the_frames_at_once(log_probs: np.ndarray, ends: list[int], beam: int, alike: int) -> None:
    words = vocabulary({"a bee": 1.0})
    pieces = PhoneSearch(words, beam, alike)
    for piece in np.split(wide(log_probs), sorted(min(end, len(log_probs)) for end in ends)):
        pieces.accept(piece)
        pieces.so_far()  # asking changes nothing
        pieces.results()
    expected = search(log_probs, words, beam=beam, alike=alike)
    assert [each[:2] for each in pieces.results()] == [each[:2] for each in expected.results()]
    assert list(map(pieces.labels, pieces.results())) == list(map(expected.labels, expected.results()))
    assert pieces.so_far() == expected.so_far()


@given(posteriors(most=12), HOT)
def test_labels_are_those_of_the_words_each_in_a_frame_of_its_own(log_probs: np.ndarray, hot: dict[str, float]) -> None:
    words = vocabulary(hot)
    sounds = SOUNDS | (ADDED if "baa" in hot else {})
    found = search(log_probs, words, beam=6)
    for result in [*found.results(), found.so_far()[0]]:
        labels, frames = found.labels(result)
        assert frames == sorted(set(frames))
        assert all(log_probs[frame, label] > -np.inf for frame, label in zip(frames, labels, strict=True))
        spoken = [bytes(phones) for is_boundary, phones in groupby(labels, lambda x: x == BOUNDARY) if not is_boundary]
        for phones, word in zip(spoken, result.words, strict=True):
            assert phones not in sounds.values() if word == NO_WORD else phones == sounds[words.text(word)]


def test_the_module_is_made_from_the_source() -> None:
    """`make search` writes the digest of its source files into it."""
    source = b"".join(path.read_bytes() for path in sorted((MODULE.parent / "wasm").iterdir()))
    assert hashlib.sha256(source).hexdigest().encode() in MODULE.read_bytes()
    for name, value in {"CLASSES": CLASSES, "BLANK": BLANK, "BOUNDARY": BOUNDARY, "NO_WORD": NO_WORD}.items():
        assert re.search(rf"\b{name} = {value}\b", source.decode())
    assert f"UNKNOWN_WORD = {UNKNOWN_WORD:.0f};" in source.decode()


def test_the_words_so_far_do_not_wait_for_the_end_of_the_sentence() -> None:
    words = vocabulary()
    found = search(sure(2, BOUNDARY, 3), words, beam=8)
    assert [*map(words.text, found.so_far()[0].words)] == ["a", "b"]
    found = search(sure(2, BOUNDARY, 2, 0, 2, rest=1e-9), words, beam=8)
    assert [*map(words.text, found.so_far()[0].words)] == ["a", ""]


def test_words_are_agreed_on_when_no_good_path_has_others() -> None:
    """Those that differ before the last word, all that the toy remembers, are merged: the choice is made."""
    words = vocabulary()
    certain = sure(2, 3, BOUNDARY, 2, BOUNDARY, 2, 3, BOUNDARY, rest=1e-4)
    unsure = certain.copy()
    unsure[3, [2, 3]] = np.log(0.48)  # a or b
    for log_probs, agreed in ((certain[:5], 2), (unsure[:5], 1), (unsure, 3)):
        best, count = search(log_probs, words, beam=8).so_far()
        assert [*map(words.text, best.words)] == ["ab", "a", "ab"][: len(best.words)]
        assert count == agreed


def test_phones_of_no_word_cost_more_the_more_they_are() -> None:
    """Otherwise one "word" would swallow the rest of a sentence, whenever its words are improbable."""
    words, scores = vocabulary(), []
    for count in range(2, 6):
        found = search(sure(*[0, 2] * count, rest=0.0), words, beam=8).results()
        scores.append(next(result.score for result in found if result.words == (NO_WORD,)))
    assert np.diff(scores) == pytest.approx(UNKNOWN_PHONE)


def test_alternatives_with_the_same_future_do_not_crowd_out_others() -> None:
    """The toy's state is the last word: what came before makes no difference to what follows."""
    words = vocabulary()
    log_probs = sure(2, BOUNDARY, 2, 3, BOUNDARY, 2, BOUNDARY)
    for alike in (2, 3):
        found = search(log_probs, words, beam=8, alike=alike).results()
        between = [
            each for each in found if search(log_probs, words, beam=8, alike=alike).labels(each)[0][-1] == BOUNDARY
        ]
        assert max(Counter(each.words[-1] for each in between).values()) == alike
        assert len({each.words for each in between}) == len(between), "alternatives differ"
    best = search(log_probs, words, beam=8).results()[0]
    assert [*map(words.text, best.words)] == ["a", "ab", "a"]


def test_a_hot_word_is_lent_its_reward_phone_by_phone() -> None:
    """A path that begins one is kept, though others are more probable so far."""
    doubtful = sure(2, 3, 3, 3)
    doubtful[0, [2, 3]] = np.log([0.01, 0.97])

    def words_of(hot: dict[str, float]) -> set[str]:
        words = vocabulary(hot)
        return {words.text(word) for result in search(doubtful, words, beam=1).results() for word in result.words}

    assert "ab" not in words_of({})
    assert "ab" in words_of({"ab": 4.0})
    assert "ab" in words_of({"ab a": 4.0}), "the first word of a phrase"


def test_what_a_phrase_lends_does_not_spell_words_of_other_phrases() -> None:
    words = vocabulary({"bee a ab": 2.0})
    best = lambda *classes: [*map(words.text, search(sure(*classes, rest=0.0), words, beam=8).results()[0].words)]  # noqa: E731
    assert best(3) == ["b"]
    assert best(3, BOUNDARY, 2) == ["b", "a"], "the phrase is incomplete"
    assert best(3, BOUNDARY, 2, BOUNDARY, 2, 3) == ["bee", "a", "ab"]
