"""Shallow fusion: a language model's opinion of each word, a bonus a word, and the rewards of hot words."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np

from velocity.recognition.decoding.hotwords import HotWords, Node
from velocity.recognition.decoding.ngram import NGram

UNKNOWN_WORD = -5.0  # nats for a word the language model does not know, beside the probability it gives to such
AFTER_LETTERS = "\x7f"  # sorts after every letter of a word


@dataclass(frozen=True, slots=True)
class TextContext:
    """What a prefix says so far: whole words are settled in ``earned``, ``word`` is still being spelled."""

    bonus: float
    loan: float  # what hot words have lent; the language model's outlook is no loan, it only comes early
    earned: float
    word: str
    state: Any  # the language model's, after the whole words
    place: Node | None  # the hot words'


class TextFusion:
    """score = ln P_CTC + ``lm_weight`` · ln P_LM + ``word_bonus`` · words + rewards of hot words.

    A word that the language model does not know costs UNKNOWN_WORD more, unless it is part of a hot phrase. A word that
    is being spelled has lent what the likeliest word that begins so has as a unigram (Ortmanns et al. 1996, "Language-
    model look-ahead"): prefixes of any length can be compared, and a dead end shows before the word is over.
    """

    def __init__(
        self,
        pieces: list[str],
        lm: NGram | None = None,
        hotwords: HotWords | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
    ) -> None:
        self.pieces, self.lm, self.hotwords = pieces, lm, hotwords
        self.lm_weight, self.word_bonus = lm_weight, word_bonus
        hot_words = self.hotwords.words if hotwords else frozenset()
        self._known = lambda word: word in lm or word in hot_words
        vocabulary = {**dict.fromkeys(hot_words, lm.unknown), **lm.unigrams} if lm else {}
        self._words = sorted(vocabulary)
        self._unigrams = np.array([vocabulary[word] for word in self._words])
        self._ahead: dict[str, float] = {"": 0.0}  # the beginning of a word → what it is lent

    def start(self) -> TextContext:
        return TextContext(
            0.0, 0.0, 0.0, "", self.lm.start() if self.lm else None, self.hotwords.start if self.hotwords else None
        )

    def extend(self, context: TextContext, token: int) -> TextContext:
        piece = self.pieces[token]
        letters = piece.lstrip(" ")
        earned, word, state, place = context.earned, context.word, context.state, context.place
        if letters != piece and word:
            state, earned, place = self._complete(context)
            word = ""
        word += letters
        loan = 0.0
        if place is not None:
            for letter in letters:
                place, reward = self.hotwords.step(place, letter)
                earned += reward
            loan = place.lent
        return TextContext(earned + self._look_ahead(word) + loan, loan, earned, word, state, place)

    def finish(self, context: TextContext) -> float:
        state, earned, _ = self._complete(context) if context.word else (context.state, context.earned, None)
        return earned + (self.lm_weight * self.lm.end(state) if self.lm else 0.0)

    def _complete(self, context: TextContext) -> tuple[Any, float, Node | None]:
        """The word is whole: (the language model's state, earned so far, the hot words' place)."""
        state, earned, place = context.state, context.earned + self.word_bonus, context.place
        if self.lm:
            state, log_prob = self.lm.word(state, context.word)
            earned += self.lm_weight * log_prob + (0.0 if self._known(context.word) else UNKNOWN_WORD)
        if place is not None:
            place, reward = self.hotwords.step(place, " ")
            earned += reward
        return state, earned, place

    def _look_ahead(self, beginning: str) -> float:
        lent = self._ahead.get(beginning)
        if lent is None:
            first = bisect_left(self._words, beginning)
            unigrams = self._unigrams[first : bisect_left(self._words, beginning + AFTER_LETTERS)]
            if not self._words:
                lent = 0.0
            elif len(unigrams):
                lent = self.lm_weight * float(unigrams.max()) + self.word_bonus
            else:
                lent = self.lm_weight * self.lm.unknown + self.word_bonus + UNKNOWN_WORD
            self._ahead[beginning] = lent
        return lent
