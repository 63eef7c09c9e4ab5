"""One entry point for all of decoding: log-posteriors in, hypotheses with timed words out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np

from velocity.errors import VelocityError
from velocity.phones import BLANK, CLASSES, pronunciations
from velocity.recognition.decoding.alignment import align
from velocity.recognition.decoding.beam import PrefixBeamSearch
from velocity.recognition.decoding.fusion import TextFusion
from velocity.recognition.decoding.greedy import best_alignment, best_path
from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.decoding.phone_search import PhoneSearch, Result
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.decoding.vocabulary import NO_WORD, Vocabulary
from velocity.recognition.decoding.words import Word, timed_words
from velocity.recognition.language_model.choice import LM_WEIGHT, WORD_BONUS
from velocity.recognition.language_model.ngram import NGram
from velocity.text import TextTokenizer

BEAM = 32  # prefixes of letters, with a language model or hot words
PHONE_BEAM = 512  # paths
ALIKE = 2  # histories kept that n-grams cannot tell apart, where a recurrent network can
WRITTEN = ["", " ", *"?" * (CLASSES - 2)]  # class → its text as of ``pieces``, where only the gaps between words matter
K, T = TypeVar("K", bound=Hashable), TypeVar("T")
SOUNDING = 3  # frames at most of a phone whose end the search does not know


@dataclass(frozen=True)
class Hypothesis:
    """A possible text. ``score`` is a natural logarithm: of the path's probability for greedy decoding, otherwise
    ln P_CTC plus the scores of the language model and the hot words."""

    text: str
    score: float
    words: list[Word] = field(default_factory=list)


class Decoder:
    """Greedy (the best path) without ``beam``, ``lm`` and ``hotwords``; otherwise a prefix beam search.

    >>> Decoder(tokenizer, 0.04, hotwords={"zanzibar": 1.5}).decode(log_probs)[0].text
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        frame_seconds: float,
        lm: NGram | None = None,
        hotwords: Mapping[str, float] | None = None,
        beam: int | None = None,
        n_best: int = 1,
        lm_weight: float = LM_WEIGHT,
        word_bonus: float = WORD_BONUS,
    ) -> None:
        """``hotwords``: normalised phrases → nats per letter. ``beam``: prefixes or paths kept per frame.
        ``lm_weight`` and ``word_bonus`` have no effect without ``lm``."""
        self.tokenizer, self.frame_seconds, self.n_best = tokenizer, frame_seconds, n_best
        self.beam = beam or (max(BEAM, n_best) if lm or hotwords or n_best > 1 else None)
        self._phone_beam = beam or max(PHONE_BEAM, n_best)
        self.pieces = pieces(tokenizer)
        self._lm, self._hot = lm, HotWords(hotwords) if hotwords else None
        self._weights = (lm_weight, word_bonus) if lm else (0.0, 0.0)
        self._fusion = TextFusion(self.pieces, lm, self._hot, *self._weights) if lm or hotwords else None

    @property
    def reads_phones(self) -> bool:
        """Whether ``decode_phones`` works: there are a language model and the pronunciations of all words."""
        return self._added is not None

    @cached_property
    def _added(self) -> dict[str, bytes] | None:
        """The pronunciations of the hot words that the language model lacks; None where words cannot be searched.

        Made when asked for: models without phones need no espeak-ng, which pronounces these."""
        if not (self._lm and self._lm.pronounces):
            return None
        missing = [word for word in (self._hot.words if self._hot else ()) if not self._lm.pronunciation(word)]
        added = _pronounced(missing)
        return added if len(added) == len(missing) else None

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._lm, self._hot, *self._weights, self._added)

    def decode(self, log_probs: np.ndarray, words: bool = True) -> list[Hypothesis]:
        """(frames, V) log-posteriors → up to ``n_best`` hypotheses that differ in text, best first.

        ``words=False`` skips the alignment and leaves the lists of words empty.
        """
        log_probs, blank = np.asarray(log_probs), self.tokenizer.blank
        if self.beam is None:
            tokens, _ = best_path(log_probs, blank)
            ranked = [(self._text(tokens), tokens.tolist(), float(log_probs.max(axis=1).sum()))]
        else:
            search = PrefixBeamSearch(blank, self.beam, self._fusion, alike=self.n_best)
            search.accept(log_probs)
            ranked = self._ranked(
                (found.score, self._text(found.tokens), found.tokens) for found in search.labellings()
            )
        found = []
        for text, tokens, score in ranked:
            timed = []
            if words:
                path = best_alignment(log_probs, blank) if self.beam is None else align(log_probs, tokens, blank)
                timed = timed_words(log_probs, tokens, path, self.pieces, self.frame_seconds)
            found.append(Hypothesis(text, score, timed))
        return found

    def decode_phones(self, log_probs: np.ndarray, words: bool = True) -> list[Hypothesis]:
        """As ``decode``, of log-posteriors of phones, (frames, velocity.phones.CLASSES).

        Raises ValueError unless ``reads_phones``.
        """
        log_probs, search = np.asarray(log_probs), self.search_phones()
        search.accept(log_probs)
        return self.phone_hypotheses(search, log_probs, words)

    def search_phones(self) -> PhoneSearch:
        """The search of ``decode_phones``, which takes the frames piece by piece. Raises ValueError as it does."""
        if not self.reads_phones:
            raise ValueError("decode_phones needs a language model with pronunciations")
        alike = max(self.n_best, ALIKE if self._lm.recurrent else 1)
        return PhoneSearch(self._vocabulary, self._phone_beam, alike)

    def phone_hypotheses(self, search: PhoneSearch, log_probs: np.ndarray, words: bool = True) -> list[Hypothesis]:
        """What ``decode_phones`` gives of the ``log_probs`` that ``search`` has accepted."""
        found = []
        for written, result, score in self._ranked((each.score, _written(each), each) for each in search.results()):
            timed = []
            if words:
                tokens, _ = search.labels(result)
                timed = self._timed(log_probs, tokens, align(log_probs, tokens, BLANK), result)
            found.append(Hypothesis(" ".join(map(self._vocabulary.text, written)), score, timed))
        return found

    def words_so_far(self, search: PhoneSearch, log_probs: np.ndarray) -> tuple[list[Word], int]:
        """The words of the best hypothesis for the ``log_probs`` that ``search`` has accepted, the incomplete one among
        them if it is a word, and how many of them the other good hypotheses have too. Their times, and so their
        confidences, are about those of ``phone_hypotheses``: those of the search, at no cost."""
        best, agreed = search.so_far()
        tokens, frames = search.labels(best)
        path = np.full(len(log_probs), -1)
        for index, (first, following) in enumerate(pairwise([*frames, len(log_probs)])):
            path[first : min(following, first + SOUNDING)] = index
        return self._timed(log_probs, tokens, path, best), sum(word != NO_WORD for word in best.words[:agreed])

    def _timed(self, log_probs: np.ndarray, tokens: list[int], path: np.ndarray, result: Result) -> list[Word]:
        """The words of phones that ``path`` aligns, as ``timed_words`` does; phones that are no word's have no text."""
        timed = timed_words(log_probs, tokens, path, WRITTEN, self.frame_seconds)
        named = zip(timed, map(self._vocabulary.text, result.words), strict=True)
        return [replace(word, text=name) for word, name in named if name]

    def _ranked(self, found: Iterable[tuple[float, K, T]]) -> list[tuple[K, T, float]]:
        """(score, what is written, what it comes from) → the best. What is written alike counts as one."""
        best: dict[K, tuple[T, float]] = {}
        for score, written, source in found:
            first, known = best.get(written, (source, -math.inf))
            least, most = sorted((score, known))
            best[written] = first, most + math.log1p(math.exp(least - most))
        ranked = sorted(best.items(), key=lambda item: -item[1][1])[: self.n_best]
        return [(written, first, score) for written, (first, score) in ranked]

    def _text(self, tokens: list[int]) -> str:
        return " ".join(self.tokenizer.decode(tokens).split())


def _written(result: Result) -> tuple[int, ...]:
    """The words; nothing is written for phones of none."""
    return tuple(word for word in result.words if word != NO_WORD) if NO_WORD in result.words else result.words


def _pronounced(words: list[str]) -> dict[str, bytes]:
    """Their pronunciations; none where espeak-ng, which recognition does not need, is not installed."""
    try:
        return pronunciations(words) if words else {}
    except VelocityError:
        return {}
