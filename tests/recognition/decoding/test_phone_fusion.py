"""The search for words by their phones, against every path there is and a score straight from the definition."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recognition.decoding.test_beam import EVERYTHING, labellings, posteriors
from velocity.phones import BOUNDARY
from velocity.recognition.decoding.beam import prefix_beam_search
from velocity.recognition.decoding.fusion import UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.decoding.phone_fusion import PhoneFusion
from velocity.recognition.language_model.lexicon import Lexicon

SOUNDS = {"a": b"\2", "ab": b"\2\3", "b": b"\3", "bee": b"\3", "mute": b""}
UNIGRAMS = {"a": -0.4, "ab": -2.0, "b": -1.5, "bee": -1.7, "mute": -0.1}


class Toy:
    """A language model that likes no word twice in a row, so that the better homophone depends on the one before."""

    unknown = -6.0
    lexicon = Lexicon(list(SOUNDS), list(SOUNDS.values()), np.array(list(UNIGRAMS.values())))

    def start(self) -> str:
        return "<s>"

    def word(self, state: str, word: str) -> tuple[str, float]:
        return word, UNIGRAMS.get(word, self.unknown) - 2.0 * (word == state)

    def end(self, state: str) -> float:
        return -0.3 if state == "b" else -1.1

    def pronunciation(self, word: str) -> bytes:
        return SOUNDS[word]


def rewards(words: list[str], hot: dict[str, float]) -> float:
    total = 0.0
    for phrase, nats in hot.items():
        sought = phrase.split()
        times = sum(words[i : i + len(sought)] == sought for i in range(len(words)))
        total += times * nats * len("".join(sought))
    return total


def read(labels: tuple[int, ...], hot: dict[str, float], weight: float, bonus: float) -> list[tuple[float, list[str]]]:
    """Every spelling and its score, the best first: "" for what no word is pronounced like."""
    lm, spellings = Toy(), [[]]
    for is_boundary, phones in groupby(labels, key=lambda label: label == BOUNDARY):
        if not is_boundary:
            sound = bytes(phones)
            alike = [word for word, own in SOUNDS.items() if own == sound]
            spellings = [[*words, word] for words in spellings for word in alike or [""]]
    found = []
    for words in spellings:
        total, state = rewards(words, hot), "<s>"
        for word in words:
            state, log_prob = lm.word(state, word)
            total += weight * log_prob + bonus + (0.0 if word else UNKNOWN_WORD)
        found.append((total + weight * lm.end(state), words))
    return sorted(found, key=lambda each: -each[0])


@settings(max_examples=80)
@given(
    posteriors(most=6),
    st.dictionaries(st.sampled_from(["bee", "ab", "a bee", "b a", "b ab"]), st.sampled_from([0.5, 2.0])),
    st.sampled_from([0.3, 1.0]),
    st.sampled_from([0.0, 1.5]),
)
def test_every_labelling_is_scored_by_its_words(log_probs, hot, weight, bonus) -> None:
    fusion = PhoneFusion(Toy(), HotWords(hot) if hot else None, weight, bonus)
    found = {tuple(f.tokens): f.score for f in prefix_beam_search(log_probs, 0, fusion=fusion, **EVERYTHING)}
    expected = labellings(log_probs)
    assert found.keys() == expected.keys()
    for labels, probability in expected.items():
        spellings = read(labels, hot, weight, bonus)
        score = spellings[0][0]
        assert fusion.words(labels) in [words for each, words in spellings if each > score - 1e-9]
        assert found[labels] == pytest.approx(math.log(probability) + score, abs=1e-9)


@given(st.dictionaries(st.text("abc", min_size=1), st.binary(max_size=4)), st.binary(max_size=3))
def test_the_lexicon_finds_what_a_search_through_all_words_finds(sounds: dict[str, bytes], phones: bytes) -> None:
    sounds = {word: bytes(2 + byte % 3 for byte in sound) for word, sound in sorted(sounds.items())}
    phones = bytes(2 + byte % 3 for byte in phones)
    unigrams = -np.arange(len(sounds), dtype=np.float32)[::-1]
    lexicon = Lexicon(list(sounds), list(sounds.values()), unigrams)
    likely = [value for sound, value in zip(sounds.values(), unigrams.tolist(), strict=True)
              if sound and sound.startswith(phones)]  # fmt: skip
    assert lexicon.best_beginning(phones) == (max(likely) if likely else None)
    assert lexicon.words(phones) == [word for word, sound in sounds.items() if sound and sound == phones]


def test_a_hot_word_is_lent_its_reward_phone_by_phone() -> None:
    fusion = PhoneFusion(Toy(), HotWords({"ab a": 1.0}), 1.0, 0.0)
    context, loans = fusion.start(), []
    for phone in (2, 3, BOUNDARY, 2, BOUNDARY):
        context = fusion.extend(context, phone)
        loans.append(context.loan)
    assert loans == [1.0, 2.0, 2.0, 3.0, 0.0]
    assert context.earned == pytest.approx(-2.0 - 0.4 + 3.0)
    assert fusion.extend(fusion.extend(fusion.start(), 2), 2).loan == 0.0, "no hot word begins so"


def test_what_a_phrase_lends_does_not_spell_words_of_other_phrases() -> None:
    fusion = PhoneFusion(Toy(), HotWords({"bee a ab": 2.0}), 1.0, 0.0)
    assert fusion.words([3]) == ["b"]
    assert fusion.words([3, BOUNDARY, 2]) == ["b", "a"], "the phrase is incomplete"
    assert fusion.words([3, BOUNDARY, 2, BOUNDARY, 2, 3]) == ["bee", "a", "ab"]
