"""Shallow fusion: the language model's score of each word, a bonus per word, and the rewards of hot words."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from velocity.recognition.decoding.hotwords import HotWords, Node
from velocity.recognition.language_model.ngram import NGram

MOST_CACHED = 1 << 17  # beginnings of words
UNKNOWN_WORD = -10.0  # nats for a word the language model does not know, added to its probability of <unk>


class TextContext(NamedTuple):
    """The state after a prefix: ``earned`` is the score of complete words, ``word`` the incomplete one. Prefixes with
    the same ``future`` get the same from whatever follows."""

    bonus: float  # what fusion adds to the prefix's score (natural logarithm)
    loan: float  # the part that is taken back if a phrase of hot words is not completed
    earned: float
    word: str
    state: Any  # of the language model, after the complete words
    place: Node | None  # in the hot words' automaton

    @property
    def future(self) -> Hashable:
        return self.word, self.state, self.place


class TextFusion:
    """score = ln P_CTC + ``lm_weight`` · ln P_LM + ``word_bonus`` · words + rewards of hot words.

    A word unknown to the language model costs UNKNOWN_WORD extra, unless it is part of a hot phrase. An incomplete word
    gets the unigram score of the most probable word that begins with it (Ortmanns et al. 1996, "Language-model
    look-ahead"): this makes prefixes of any length comparable and shows a dead end before the word is complete.
    """

    def __init__(
        self,
        pieces: list[str],
        lm: NGram | None = None,
        hotwords: HotWords | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
    ) -> None:
        self.lm, self.hotwords = lm, hotwords
        self._pieces = [(piece.lstrip(" "), piece.startswith(" ")) for piece in pieces]  # (letters, begins a word)
        self.lm_weight, self.word_bonus = lm_weight, word_bonus
        self._hot_words = self.hotwords.words if hotwords else frozenset()
        self._dead_end = lm_weight * lm.unknown + word_bonus + UNKNOWN_WORD if lm else 0.0  # no word begins so
        self._ahead: dict[str, float] = {"": 0.0}  # the beginning of a word → its look-ahead score

    def start(self) -> TextContext:
        return TextContext(
            0.0, 0.0, 0.0, "", self.lm.start() if self.lm else None, self.hotwords.start if self.hotwords else None
        )

    def extend(self, context: TextContext, token: int) -> TextContext:
        letters, begins = self._pieces[token]
        earned, word, state, place = context.earned, context.word, context.state, context.place
        if begins and word:
            state, earned, place = self._complete(context)
            word = ""
        before, word = word, word + letters
        loan = 0.0
        if place is not None:
            for letter in letters:
                place, reward = self.hotwords.step(place, letter)
                earned += reward
            loan = place.lent
        return TextContext(earned + self._look_ahead(word, before) + loan, loan, earned, word, state, place)

    def finish(self, context: TextContext) -> float:
        state, earned, _ = self._complete(context) if context.word else (context.state, context.earned, None)
        return earned + (self.lm_weight * self.lm.end(state) if self.lm else 0.0)

    def _complete(self, context: TextContext) -> tuple[Any, float, Node | None]:
        """Complete the word: (the language model's state, the score earned, the place in the hot words)."""
        state, earned, place = context.state, context.earned + self.word_bonus, context.place
        if self.lm:
            state, log_prob = self.lm.word(state, context.word)
            earned += self.lm_weight * log_prob + (
                0.0 if context.word in self.lm or context.word in self._hot_words else UNKNOWN_WORD
            )
        if place is not None:
            place, reward = self.hotwords.step(place, " ")
            earned += reward
        return state, earned, place

    def _look_ahead(self, beginning: str, before: str) -> float:
        """The score of a word's ``beginning``; ``before`` is a shorter one."""
        if self.lm is None:
            return 0.0
        score = self._ahead.get(beginning)
        if score is None:
            if before and self._ahead.get(before) == self._dead_end:
                return self._dead_end
            likely = self.lm.best_beginning(beginning)
            if likely is None and self.hotwords and self.hotwords.begins(beginning):
                likely = self.lm.unknown
            score = self._dead_end if likely is None else self.lm_weight * likely + self.word_bonus
            if len(self._ahead) >= MOST_CACHED:
                self._ahead = {"": 0.0}
            self._ahead[beginning] = score
        return score
