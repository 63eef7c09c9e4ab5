"""What a search for words in phones asks: which words are pronounced so, and what each is worth after those before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from velocity.recognition.decoding.fusion import UNKNOWN_WORD
from velocity.recognition.decoding.hotwords import HotWords, Node
from velocity.recognition.language_model.lexicon import NOWHERE, ROOT, Lexicon
from velocity.recognition.language_model.ngram import NGram, State
from velocity.recognition.language_model.tables import UNKNOWN_ID

NO_WORD = -1  # in place of a word's id: phones that are no word's


class History(NamedTuple):
    """All that matters of the complete words for those that follow."""

    state: State  # of the language model
    place: Node | None  # in the hot words' automaton


class Vocabulary:
    """A word is worth ``lm_weight`` · ln P_LM + ``word_bonus`` + rewards of hot words, as ``TextFusion``'s. What is no
    word costs as much as an unknown word. A beginning is worth the unigram of the most probable word that begins so
    (Ortmanns et al. 1996, "Language-model look-ahead")."""

    def __init__(
        self,
        lm: NGram,
        hotwords: HotWords | None,
        lm_weight: float,
        word_bonus: float,
        added: Mapping[str, bytes] | None = None,
    ) -> None:
        """``lm`` has pronunciations; ``added`` has those of the hot words that it lacks."""
        self.hotwords, self._lm, self._weight, self._bonus = hotwords, lm, lm_weight, word_bonus
        added = added or {}
        self._words = [*lm.words, *added]
        self._known, self._added = len(lm.words), [lm.id(word) for word in added]
        self.lexicon = lm.lexicon
        if added:
            unigrams = np.concatenate([lm.unigrams, np.full(len(added), lm.unknown)])
            self.lexicon = Lexicon([*lm.pronunciations, *added.values()], unigrams)
        tree = self.lexicon.tree
        self.ahead = lm_weight * tree.best + word_bonus  # (nodes + 1,): what the words' beginnings are worth
        self.ahead[ROOT], self.ahead[NOWHERE] = 0.0, lm_weight * lm.unknown + word_bonus + UNKNOWN_WORD
        self.alone = lm_weight * self.lexicon.unigrams + word_bonus  # (rows of the lexicon,): of a word by its unigram
        self.hot = np.zeros(len(self.alone), dtype=bool)  # (rows,): whether it is a hot word
        self._loans: dict[Node, dict[int, float]] = {}  # after what was begun → node → loan
        if hotwords:
            ids = {word: lm.id(word) for word in hotwords.words}
            self._sounds = {word: added[word] if word in added else lm.pronunciations[ids[word]] for word in ids}
            self.hot = np.isin(self.lexicon.words, [*ids.values(), *range(self._known, len(self._words))])
            self._first = np.zeros(len(tree.best))  # (nodes + 1,): lent to the beginnings of all hot words
            for node, loan in self._loans_at(hotwords.start, hotwords.words).items():
                self._first[node] = loan

    def start(self) -> History:
        return History(self._lm.start(), self.hotwords.start if self.hotwords else None)

    def text(self, word: int) -> str:
        """Nothing for NO_WORD."""
        return self._words[word] if word != NO_WORD else ""

    def steps(self, histories: Sequence[History], words: Sequence[int]) -> list[tuple[History, float]]:
        """After each of the histories, with each of the words: (the history after it, what the word is worth but for
        its phones, if they are no word's)."""
        ids = np.array(words, dtype=np.int64)
        known = np.where(ids == NO_WORD, UNKNOWN_ID, ids)
        for index in (ids >= self._known).nonzero()[0]:
            known[index] = self._added[words[index] - self._known]
        states, log_probs = self._lm.score_each([history.state for history in histories], known)
        worth = self._weight * log_probs + self._bonus + np.where(ids == NO_WORD, UNKNOWN_WORD, 0.0)
        if self.hotwords is None:
            return [(History(state, None), value) for state, value in zip(states, worth.tolist(), strict=True)]
        spelled = [self._spell(history.place, self.text(word)) for history, word in zip(histories, words, strict=True)]
        return [
            (History(state, place), value + reward)
            for state, value, (place, reward) in zip(states, worth.tolist(), spelled, strict=True)
        ]

    def end(self, history: History) -> float:
        """What the end of the utterance is worth."""
        return self._weight * self._lm.end(history.state)

    def lent(self, histories: Sequence[History], nodes: np.ndarray) -> np.ndarray:
        """(paths, N) nodes after each path's history → (paths, N) what hot words lend: the best of those that begin so
        earns it in proportion to how many of its phones were spoken."""
        loans = self._first[nodes]
        for row, (_, place) in enumerate(histories):
            if place is self.hotwords.start:
                continue
            if place not in self._loans:
                self._loans[place] = self._loans_at(place, self.hotwords.continuations(place))
            lent = self._loans[place]
            loans[row] = [
                max(loan, lent.get(node, 0.0)) for loan, node in zip(loans[row], nodes[row].tolist(), strict=True)
            ]
        return loans

    def _loans_at(self, place: Node, words: set[str] | frozenset[str]) -> dict[int, float]:
        """Node → loan."""
        loans = {ROOT: place.lent}
        for word in words:
            after, reward = self._spell(place, word)
            nodes = self.lexicon.tree.path(self._sounds[word])
            for count, node in enumerate(nodes, start=1):
                loan = place.lent + (reward + after.lent - place.lent) * count / len(nodes)
                loans[node] = max(loans.get(node, 0.0), loan)
        return loans

    def _spell(self, place: Node | None, word: str) -> tuple[Node | None, float]:
        """(the place after ``word``, the nats earned)."""
        if place is None or not word:
            return self.hotwords.start if self.hotwords else None, 0.0
        earned = 0.0
        for letter in f"{word} ":
            place, reward = self.hotwords.step(place, letter)
            earned += reward
        return place, earned
