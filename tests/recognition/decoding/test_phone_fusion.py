"""The search for words by their phones, against every path there is and a score straight from the definition."""

from __future__ import annotations

import math
from collections import Counter
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recognition.decoding.test_beam import EVERYTHING, labellings, posteriors, search
from velocity.phones import BOUNDARY
from velocity.recognition.decoding.fusion import UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.decoding.phone_fusion import LUCK, UNKNOWN_PHONE, PhoneFusion
from velocity.recognition.language_model.lexicon import NOWHERE, ROOT, Lexicon

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


def node_of(lexicon: Lexicon, phones: bytes) -> int:
    node = ROOT
    for phone in phones:
        node = int(lexicon.tree.longer(np.array([node]), np.array([phone]))[0, 0])
    return node


def rewards(words: list[str], hot: dict[str, float]) -> float:
    total = 0.0
    for phrase, nats in hot.items():
        sought = phrase.split()
        times = sum(words[i : i + len(sought)] == sought for i in range(len(words)))
        total += times * nats * len("".join(sought))
    return total


def read(labels: tuple[int, ...], hot: dict[str, float], weight: float, bonus: float) -> list[tuple[float, list[str]]]:
    """Every spelling and its score, the best first: "" for what no word is pronounced like."""
    lm, spellings, unknown = Toy(), [[]], 0.0
    for is_boundary, phones in groupby(labels, key=lambda label: label == BOUNDARY):
        if not is_boundary:
            sound = bytes(phones)
            alike = [word for word, own in SOUNDS.items() if own == sound]
            spellings = [[*words, word] for words in spellings for word in alike or [""]]
            unknown += 0.0 if alike else UNKNOWN_WORD + UNKNOWN_PHONE * len(sound)
    found = []
    for words in spellings:
        total, state = rewards(words, hot) + unknown, "<s>"
        for word in words:
            state, log_prob = lm.word(state, word)
            total += weight * log_prob + bonus
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
    found = {tuple(f.tokens): f.score for f in search(log_probs, fusion=fusion, **EVERYTHING)}
    expected = labellings(log_probs)
    assert found.keys() == expected.keys()
    for labels, probability in expected.items():
        spellings = read(labels, hot, weight, bonus)
        score = spellings[0][0]
        assert fusion.words(labels) in [words for each, words in spellings if each > score - 1e-9]
        assert found[labels] == pytest.approx(math.log(probability) + score, abs=1e-9)


@given(
    st.lists(st.sampled_from([BOUNDARY, 2, 3]), max_size=6),
    st.dictionaries(st.sampled_from(["bee", "ab", "a bee", "b a"]), st.sampled_from([0.5, 2.0])),
    st.sampled_from([0.0, 1.5]),
)
def test_the_outlook_is_the_bonus_after_each_token(labels: list[int], hot: dict[str, float], bonus: float) -> None:
    fusion = PhoneFusion(Toy(), HotWords(hot) if hot else None, 0.3, bonus)
    contexts, tokens = [fusion.start()], [BOUNDARY, 2, 3]
    for label in labels:
        contexts.append(fusion.extend(contexts[-1], label))
    for context, *rows in zip(contexts, *fusion.outlook(contexts, np.array(tokens)), strict=True):
        for token, outlook, rewarded in zip(tokens, *rows, strict=True):
            after = fusion.extend(context, token)
            if token != BOUNDARY and not rewarded:
                assert (after.loan, after.bonus) == (0.0, pytest.approx(outlook))
            elif token != BOUNDARY and after.phones in SOUNDS.values():
                assert after.bonus - after.loan == pytest.approx(outlook)
            elif not context.phones:
                assert outlook == pytest.approx(context.earned + LUCK), "a second boundary changes nothing"
            elif not rewarded and after.readings[0].state != context.readings[0].state:  # the toy likes no word twice
                assert outlook == pytest.approx(after.bonus - after.loan + LUCK)


def test_phones_of_no_word_cost_more_the_more_they_are() -> None:
    """Otherwise one "word" would swallow the rest of a sentence, whenever its words are improbable."""
    fusion = PhoneFusion(Toy(), None, 1.0, 0.0)
    bonuses, context = [], fusion.start()
    for _ in range(5):
        context = fusion.extend(context, 2)
        bonuses.append(fusion.finish(context))
    assert np.diff(bonuses[1:]) == pytest.approx(UNKNOWN_PHONE)


def test_prefixes_with_the_same_future_do_not_crowd_out_others() -> None:
    """The toy's state is the last word: what came before makes no difference to what follows."""
    fusion = PhoneFusion(Toy(), None, 1.0, 0.0)
    spoken = [2, BOUNDARY, 2, 3, BOUNDARY, 2, BOUNDARY]
    log_probs = np.log(np.full((len(spoken), 4), 0.02) + 0.92 * np.eye(4)[spoken])
    for alike in (1, 2):
        futures = Counter()
        for found in search(log_probs, beam=8, fusion=fusion, alike=alike):
            context = fusion.start()
            for token in found.tokens:
                context = fusion.extend(context, token)
            futures[context.future] += 1
        assert max(futures.values()) == alike
    assert fusion.words(search(log_probs, beam=8, fusion=fusion)[0].tokens) == ["a", "ab", "a"]


@given(st.dictionaries(st.text("abc", min_size=1), st.binary(max_size=4)), st.binary(max_size=3))
def test_the_lexicon_finds_what_a_search_through_all_words_finds(sounds: dict[str, bytes], phones: bytes) -> None:
    sounds = {word: bytes(2 + byte % 3 for byte in sound) for word, sound in sorted(sounds.items())}
    phones = bytes(2 + byte % 3 for byte in phones)
    unigrams = -np.arange(len(sounds), dtype=np.float32)[::-1]
    lexicon = Lexicon(list(sounds), list(sounds.values()), unigrams)
    likely = [value for sound, value in zip(sounds.values(), unigrams.tolist(), strict=True)
              if sound and sound.startswith(phones)]  # fmt: skip
    assert lexicon.words(phones) == [word for word, sound in sounds.items() if sound and sound == phones]
    tree, node = lexicon.tree, node_of(lexicon, phones)
    assert node == ROOT or (node == NOWHERE) == (not likely)
    if node != ROOT:
        assert tree.best[node] == max(likely, default=-np.inf)
        exact = [value for sound, value in zip(sounds.values(), unigrams.tolist(), strict=True) if sound == phones]
        assert tree.spoken[node] == max(exact, default=-np.inf)


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
