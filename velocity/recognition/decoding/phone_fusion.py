"""Shallow fusion for phones: a lexicon makes words of them, and the language model and hot words score the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from velocity.phones import BOUNDARY, CLASSES
from velocity.recognition.decoding.fusion import MOST_CACHED, UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords, Node
from velocity.recognition.language_model.ngram import NGram

SYMBOLS = [bytes([phone]) for phone in range(CLASSES)]
WRITTEN = ["", " ", *"?" * (CLASSES - 2)]  # class → its text as of ``pieces``, where only the gaps between words matter


class PhoneContext(NamedTuple):
    """The state after a prefix: ``earned`` is the score of complete words, ``phones`` are the incomplete one's."""

    bonus: float
    loan: float  # lent by hot words
    earned: float
    phones: bytes
    state: Any  # of the language model, after the complete words
    place: Node | None  # in the hot words' automaton, after the complete words


class Completed(NamedTuple):
    """A word, "" if the phones are none's, what it earned, and the states after it."""

    word: str
    earned: float
    state: Any
    place: Node | None


class PhoneFusion:
    """score = ln P_CTC + ``lm_weight`` · ln P_LM + ``word_bonus`` · words + rewards of hot words, as ``TextFusion``'s.

    Of the words that are pronounced alike, the one with the best score after the words before it is taken. Phones that
    are no word's cost as much as an unknown word, and no text is written for them. An incomplete word gets the unigram
    score of the most probable word whose pronunciation begins so.
    """

    def __init__(
        self,
        lm: NGram,
        hotwords: HotWords | None,
        lm_weight: float,
        word_bonus: float,
        added: Mapping[str, bytes] | None = None,
    ) -> None:
        """``lm`` has pronunciations; ``added`` has those of the hot words that it lacks."""
        self.lm, self.hotwords = lm, hotwords
        self.lm_weight, self.word_bonus = lm_weight, word_bonus
        added = added or {}
        words = hotwords.words if hotwords else ()
        self._hot = {word: lm.pronunciation(word) or added[word] for word in words}
        self._added: dict[bytes, list[str]] = {}
        for word in sorted(added):
            self._added.setdefault(added[word], []).append(word)
        self._begun = {phones[:count] for phones in self._added for count in range(1, len(phones) + 1)}
        self._dead_end = lm_weight * lm.unknown + word_bonus + UNKNOWN_WORD
        self._ahead: dict[bytes, float] = {b"": 0.0}  # the beginning of a word → its look-ahead score
        self._completed: dict[tuple[Any, Node | None, bytes], Completed] = {}
        self._loans: dict[Node, Mapping[bytes, float]] = {}

    def start(self) -> PhoneContext:
        return PhoneContext(0.0, 0.0, 0.0, b"", self.lm.start(), self.hotwords.start if self.hotwords else None)

    def extend(self, context: PhoneContext, token: int) -> PhoneContext:
        _, _, earned, phones, state, place = context
        if token == BOUNDARY:
            if not phones:
                return context
            _, more, state, place = self._complete(state, place, phones)
            loan = place.lent if place is not None else 0.0
            return PhoneContext(earned + more + loan, loan, earned + more, b"", state, place)
        before, phones = phones, phones + SYMBOLS[token]
        loan = self._lent(place, phones) if place is not None else 0.0
        return PhoneContext(earned + self._look_ahead(phones, before) + loan, loan, earned, phones, state, place)

    def finish(self, context: PhoneContext) -> float:
        earned, state = context.earned, context.state
        if context.phones:
            _, more, state, _ = self._complete(state, context.place, context.phones)
            earned += more
        return earned + self.lm_weight * self.lm.end(state)

    def words(self, tokens: Sequence[int]) -> list[str]:
        """The words of a labelling in their order, "" for phones that are no word's."""
        _, _, _, _, state, place = self.start()
        found = []
        for phones in filter(None, bytes(tokens).split(SYMBOLS[BOUNDARY])):
            word, _, state, place = self._complete(state, place, phones)
            found.append(word)
        return found

    def _complete(self, state: Any, place: Node | None, phones: bytes) -> Completed:
        key = (state, place, phones)
        found = self._completed.get(key)
        if found is None:
            if len(self._completed) >= MOST_CACHED:
                self._completed.clear()
            found = self._completed[key] = self._best_word(state, place, phones)
        return found

    def _best_word(self, state: Any, place: Node | None, phones: bytes) -> Completed:
        found, most = None, 0.0
        for word in (*self.lm.lexicon.words(phones), *self._added.get(phones, ())):
            after, log_prob = self.lm.word(state, word)
            next_place, reward = self._spell(place, word)
            earned = self.lm_weight * log_prob + self.word_bonus + reward
            value = earned + (next_place.lent if next_place is not None else 0.0)
            if found is None or value > most:
                found, most = Completed(word, earned, after, next_place), value
        if found is None:
            after, log_prob = self.lm.word(state, "")
            earned = self.lm_weight * log_prob + self.word_bonus + UNKNOWN_WORD
            found = Completed("", earned, after, self.hotwords.start if self.hotwords else None)
        return found

    def _spell(self, place: Node | None, word: str) -> tuple[Node | None, float]:
        """(the place after ``word``, the nats earned)."""
        earned = 0.0
        if place is not None:
            for letter in f"{word} ":
                place, reward = self.hotwords.step(place, letter)
                earned += reward
        return place, earned

    def _lent(self, place: Node, beginning: bytes) -> float:
        """The best of what hot words that begin so will earn, in proportion to how many of their phones were spoken."""
        loans = self._loans.get(place)
        if loans is None:
            loans = {}
            for word, phones in self._hot.items():
                after, reward = self._spell(place, word)
                for count in range(1, len(phones) + 1):
                    loan = place.lent + (reward + after.lent - place.lent) * count / len(phones)
                    loans[phones[:count]] = max(loans.get(phones[:count], 0.0), loan)
            self._loans[place] = loans  # complete, for other threads
        return loans.get(beginning, 0.0)

    def _look_ahead(self, beginning: bytes, before: bytes) -> float:
        """The score of a word's ``beginning``; ``before`` is a shorter one."""
        score = self._ahead.get(beginning)
        if score is None:
            if self._ahead.get(before) == self._dead_end:  # none begins like that, so none like this
                return self._dead_end
            likely = self.lm.lexicon.best_beginning(beginning)
            if likely is None and beginning in self._begun:
                likely = self.lm.unknown
            score = self._dead_end if likely is None else self.lm_weight * likely + self.word_bonus
            if len(self._ahead) >= MOST_CACHED:
                self._ahead = {b"": 0.0}
            self._ahead[beginning] = score
        return score
