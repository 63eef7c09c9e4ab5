"""Shallow fusion for phones: a lexicon makes words of them, and the language model and hot words score the words."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from velocity.phones import BOUNDARY, CLASSES
from velocity.recognition.decoding.fusion import MOST_CACHED, UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords, Node
from velocity.recognition.language_model.lexicon import NOWHERE, ROOT
from velocity.recognition.language_model.ngram import NGram

SYMBOLS = [bytes([phone]) for phone in range(CLASSES)]
WRITTEN = ["", " ", *"?" * (CLASSES - 2)]  # class → its text as of ``pieces``, where only the gaps between words matter
UNKNOWN_PHONE = -2.0  # nats for each phone of what is no word, so that one "word" does not swallow a sentence
LUCK = 1.0  # nats: what a word's n-gram may add to its unigram, for all that the search assumes
READINGS = 4  # spellings of a prefix at most
MOST_COMPLETED = 1 << 13  # words after prefixes: some 40 for each second of speech, 4 kB each


class Reading(NamedTuple):
    """One spelling of the complete words. ``score`` is relative to the best one's."""

    score: float
    state: Any  # of the language model
    place: Node | None  # in the hot words' automaton


class PhoneContext(NamedTuple):
    """The state after a prefix: ``earned`` is the score of complete words, ``phones`` are the incomplete one's."""

    bonus: float
    loan: float  # lent by hot words
    earned: float
    phones: bytes
    readings: tuple[Reading, ...]  # best first
    node: int  # of ``phones`` in the lexicon's tree

    @property
    def future(self) -> Hashable:
        """By the best spelling only: the others rarely win."""
        return self.phones, *self.readings[0][1:]


class Completed(NamedTuple):
    """What a word adds to the best reading's score, the readings after it, and for each of them the word ("" if the
    phones are no word's) and the number of the reading before it."""

    earned: float
    readings: tuple[Reading, ...]
    words: tuple[str, ...]
    before: tuple[int, ...]


class PhoneFusion:
    """score = ln P_CTC + ``lm_weight`` · ln P_LM + ``word_bonus`` · words + rewards of hot words, as ``TextFusion``'s.

    Words that are pronounced alike are told apart by the words around them: the READINGS best spellings of a prefix are
    kept, and the best one counts. Phones that are no word's cost as much as an unknown word and UNKNOWN_PHONE each, and
    no text is written for them. An incomplete word gets the unigram score of the most probable word whose pronunciation
    begins so.
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
        self._hot = {word: lm.pronunciation(word) or added[word] for word in (hotwords.words if hotwords else ())}
        self._added: dict[bytes, list[str]] = {}
        for word in sorted(added):
            self._added.setdefault(added[word], []).append(word)
        self._hot_after: dict[bytes, np.ndarray] = {}  # the beginning of a hot word → whether each class may follow
        for phones in self._hot.values():
            for count, follows in enumerate((*phones, BOUNDARY)):
                self._hot_after.setdefault(phones[:count], np.zeros(CLASSES, dtype=bool))[follows] = True
        self._begun = {beginning for phones in self._added for beginning in _beginnings(phones)}
        self._no_word = lm_weight * lm.unknown + word_bonus + UNKNOWN_WORD
        self._best = lm.lexicon.tree.best.tolist()
        self._nodes: dict[int, int] = {}  # of the lexicon's tree: as its keys → the longer one
        self._completed: dict[tuple[tuple[Reading, ...], bytes], Completed] = {}
        self._loans: dict[Node, Mapping[bytes, float]] = {}
        self._first_loans = self._loans_of(hotwords.start, hotwords.words) if hotwords else {}

    def start(self) -> PhoneContext:
        reading = Reading(0.0, self.lm.start(), self.hotwords.start if self.hotwords else None)
        return PhoneContext(0.0, 0.0, 0.0, b"", (reading,), ROOT)

    def extend(self, context: PhoneContext, token: int) -> PhoneContext:
        _, _, earned, phones, readings, node = context
        if token == BOUNDARY:
            if not phones:
                return context
            more, readings, _, _ = self._complete(readings, phones)
            earned, phones, node, score = earned + more, b"", ROOT, 0.0
        else:
            phones += SYMBOLS[token]
            node = self._longer(node, token)
            score = self._look_ahead(phones, node)
        loan = 0.0
        if self.hotwords:
            loan = max(reading.score + self._lent(reading.place, phones) for reading in readings)
        return PhoneContext(earned + score + loan, loan, earned, phones, readings, node)

    def outlook(self, contexts: Sequence[PhoneContext], tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of phones exactly; of the end of a word, by the unigram of the most probable word that is pronounced so. Only
        beginnings of hot words and their ends are lent or earn rewards."""
        rows = [(context.node, len(context.phones), context.earned) for context in contexts]
        nodes, lengths, earned = np.array(rows).T
        nodes, tree = nodes.astype(np.int64), self.lm.lexicon.tree
        ahead = self._scores(tree.best[tree.longer(nodes, tokens)], lengths[:, None] + 1)  # (contexts, tokens)
        if (ends := tokens == BOUNDARY).any():
            word = np.where(nodes == ROOT, 0.0, self._scores(tree.spoken[nodes], lengths))
            ahead[:, ends] = word[:, None] + LUCK
        hot = np.zeros(ahead.shape, dtype=bool)
        for number, context in enumerate(contexts if self._hot_after else ()):
            if (after := self._hot_after.get(context.phones)) is not None:
                hot[number] = after[tokens]
        return earned[:, None] + ahead, hot

    def _scores(self, unigrams: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Of words with these log-probabilities; minus infinity: of so many phones that are no word's."""
        known = unigrams > -np.inf
        word = self.lm_weight * np.where(known, unigrams, 0.0) + self.word_bonus
        return np.where(known, word, self._no_word + UNKNOWN_PHONE * lengths)

    def finish(self, context: PhoneContext) -> float:
        earned, readings = context.earned, context.readings
        if context.phones:
            more, readings, _, _ = self._complete(readings, context.phones)
            earned += more
        return earned + max(map(self._ended, readings))

    def words(self, tokens: Sequence[int]) -> list[str]:
        """The words of a labelling in their order, "" for phones that are no word's."""
        readings, steps = self.start().readings, []
        for phones in filter(None, bytes(tokens).split(SYMBOLS[BOUNDARY])):
            steps.append(self._complete(readings, phones))
            readings = steps[-1].readings
        best = max(range(len(readings)), key=lambda number: self._ended(readings[number]))
        found = []
        for step in reversed(steps):
            found.append(step.words[best])
            best = step.before[best]
        return found[::-1]

    def _ended(self, reading: Reading) -> float:
        return reading.score + self.lm_weight * self.lm.end(reading.state)

    def _complete(self, readings: tuple[Reading, ...], phones: bytes) -> Completed:
        key = (readings, phones)
        found = self._completed.get(key)
        if found is None:
            if len(self._completed) >= MOST_COMPLETED:
                self._completed.clear()
            found = self._completed[key] = self._respelled(readings, phones)
        return found

    def _respelled(self, readings: tuple[Reading, ...], phones: bytes) -> Completed:
        alike = (*self.lm.lexicon.words(phones), *self._added.get(phones, ()))
        penalty = 0.0 if alike else UNKNOWN_WORD + UNKNOWN_PHONE * len(phones)
        best: dict[tuple[Any, Node | None], tuple[float, str, int]] = {}
        for number, (score, state, place) in enumerate(readings):
            for word in alike or ("",):
                after, log_prob = self.lm.word(state, word)
                next_place, reward = self._spell(place, word)
                total = score + self.lm_weight * log_prob + self.word_bonus + reward + penalty
                known = best.get((after, next_place))
                if known is None or total > known[0]:
                    best[after, next_place] = total, word, number
        # What a phrase has lent keeps a reading, but makes none the best.
        ranked = sorted(best.items(), key=lambda item: item[1][0] + _lent_at(item[0][1]), reverse=True)[:READINGS]
        ranked.sort(key=lambda item: item[1][0], reverse=True)
        most = ranked[0][1][0]
        after = tuple(Reading(total - most, *key) for key, (total, _, _) in ranked)
        return Completed(most, after, tuple(value[1] for _, value in ranked), tuple(value[2] for _, value in ranked))

    def _spell(self, place: Node | None, word: str) -> tuple[Node | None, float]:
        """(the place after ``word``, the nats earned)."""
        if place is None or not word:
            return self.hotwords.start if self.hotwords else None, 0.0
        earned = 0.0
        for letter in f"{word} ":
            place, reward = self.hotwords.step(place, letter)
            earned += reward
        return place, earned

    def _lent(self, place: Node, beginning: bytes) -> float:
        """The best of what hot words that begin so will earn, in proportion to how many of their phones were spoken."""
        if not beginning:
            return place.lent
        loans = self._loans.get(place)
        if loans is None:
            loans = self._loans[place] = self._loans_of(place, self.hotwords.continuations(place))
        return max(loans.get(beginning, 0.0), self._first_loans.get(beginning, 0.0))

    def _loans_of(self, place: Node, words: Iterable[str]) -> dict[bytes, float]:
        loans: dict[bytes, float] = {}
        for word in words:
            after, reward = self._spell(place, word)
            beginnings = _beginnings(self._hot[word])
            for count, beginning in enumerate(beginnings, start=1):
                loan = place.lent + (reward + after.lent - place.lent) * count / len(beginnings)
                loans[beginning] = max(loans.get(beginning, 0.0), loan)
        return loans

    def _longer(self, node: int, phone: int) -> int:
        key = node << 8 | phone
        longer = self._nodes.get(key)
        if longer is None:
            if len(self._nodes) >= MOST_CACHED:
                self._nodes.clear()
            longer = self._nodes[key] = int(self.lm.lexicon.tree.longer(np.array([node]), np.array([phone]))[0, 0])
        return longer

    def _look_ahead(self, beginning: bytes, node: int) -> float:
        """The score of a word's ``beginning``."""
        if node != NOWHERE:
            likely = self._best[node]
        elif beginning in self._begun:
            likely = self.lm.unknown
        else:
            return self._no_word + UNKNOWN_PHONE * len(beginning)
        return self.lm_weight * likely + self.word_bonus


def _beginnings(phones: bytes) -> list[bytes]:
    return [phones[:count] for count in range(1, len(phones) + 1)]


def _lent_at(place: Node | None) -> float:
    return place.lent if place is not None else 0.0
