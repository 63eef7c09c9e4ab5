"""The words of an utterance while it is spoken: of letters by the best path, of phones by the search with a language
model. Frames and seconds are counted from the beginning of the stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np

from velocity.phones import BLANK, BOUNDARY
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.decoding.words import EARLY, LATE, Word, spelled

SETTLED = 0.24  # seconds without a label after which a word counts as complete although nothing has followed
PAUSE = 0.4  # likewise, for phones
AGREED = 0.2  # seconds after which the search is not expected to change a word that all good hypotheses have
DECIDED = 1.0  # likewise, any word


class Utterance(ABC):
    """What has been recognised since ``start``, extended chunk by chunk. The posteriors of the frames are kept for
    ``final``: a quarter of a megabyte at most."""

    def __init__(self, start: int, frame_seconds: float) -> None:
        self.start = self.end = start  # in model frames
        self._frame = frame_seconds
        self._posteriors: list[np.ndarray] = []

    def add(self, log_probs: np.ndarray) -> None:
        """(frames, classes)."""
        self._posteriors.append(log_probs)
        self._take(log_probs)
        self.end += len(log_probs)

    @property
    @abstractmethod
    def quiet(self) -> int:
        """Frames since the last label."""

    @abstractmethod
    def words(self) -> list[Word]:
        """The words so far."""

    @abstractmethod
    def settle(self) -> int:
        """The number of ``words`` that do not change any more. It never decreases."""

    @abstractmethod
    def final(self, log_probs: np.ndarray | None = None) -> list[Word]:
        """The words, if the utterance ends here: those of the language model and the hot words, if there are any.
        ``log_probs``: better ones of all its frames."""

    @abstractmethod
    def _take(self, log_probs: np.ndarray) -> None: ...

    def stable_and_partial(self) -> tuple[str, str]:
        count = self.settle()
        words = self.words()
        return joined(words[:count]), joined(words[count:])

    def _decoded(self, found: list[Word]) -> list[Word]:
        """``found`` is timed from the beginning of the utterance."""
        start = self.start * self._frame
        return [replace(word, start=start + word.start, end=start + word.end) for word in found]


class LetterUtterance(Utterance):
    """The best path of letters (``velocity.recognition.decoding.greedy``); ``final`` is by the ``decoder``."""

    def __init__(self, start: int, decoder: Decoder) -> None:
        super().__init__(start, decoder.frame_seconds)
        self._decoder, self._blank = decoder, decoder.tokenizer.blank
        self._tokens: list[int] = []
        self._first: list[int] = []  # frame of each token
        self._last: list[int] = []
        self._peak: list[float] = []  # log-posterior
        self._previous = self._blank
        self._settled = 0  # words

    def _take(self, log_probs: np.ndarray) -> None:
        peaks = zip(log_probs.argmax(1).tolist(), log_probs.max(1).tolist(), strict=True)
        for frame, (token, value) in enumerate(peaks, start=self.end):
            if token != self._blank:
                if token != self._previous:
                    self._tokens.append(token)
                    self._first.append(frame)
                    self._last.append(frame)
                    self._peak.append(value)
                self._last[-1] = frame
                self._peak[-1] = max(self._peak[-1], value)
            self._previous = token

    @property
    def quiet(self) -> int:
        return self.end - (self._last[-1] + 1 if self._tokens else self.start)

    def words(self) -> list[Word]:
        """Timed as by ``velocity.recognition.decoding.words``."""
        frame, found = self._frame, []
        for text, members in spelled(self._tokens, self._decoder.pieces):
            confidence = float(np.exp(np.mean([self._peak[index] for index in members])))
            start = max(self._first[members[0]] * frame - LATE, found[-1].end if found else 0.0)
            end = min((self._last[members[-1]] + 1) * frame + EARLY, self.end * frame)
            found.append(Word(text, start, end, confidence))
        return found

    def settle(self) -> int:
        """A word is complete when a boundary follows, or ``SETTLED`` seconds without a letter. A rare late letter
        lengthens a word that was already complete."""
        words = len(self.words())
        if words:
            boundary = self._decoder.pieces[self._tokens[-1]].isspace()
            complete = boundary or self.quiet * self._frame >= SETTLED
            self._settled = max(self._settled, words if complete else words - 1)
        return self._settled

    def final(self, log_probs: np.ndarray | None = None) -> list[Word]:
        if self._decoder.beam is None:
            return self.words()
        if log_probs is None:
            log_probs = np.concatenate(self._posteriors)
        return self._decoded(self._decoder.decode(log_probs)[0].words) or self.words()


class PhoneUtterance(Utterance):
    """The best hypothesis of the search for words in phones, which goes on from chunk to chunk."""

    def __init__(self, start: int, decoder: Decoder) -> None:
        super().__init__(start, decoder.frame_seconds)
        self._decoder, self._search = decoder, decoder.search_phones()
        self._last = start - 1  # frame of the newest phone
        self._stable: list[Word] = []
        self._begun: list[Word] = []  # after them
        self._agreed = 0  # of these, from the first on: all good hypotheses have them

    def _take(self, log_probs: np.ndarray) -> None:
        self._search.accept(log_probs)
        best = log_probs.argmax(1)
        sounding = np.flatnonzero((best != BLANK) & (best != BOUNDARY))
        if len(sounding):
            self._last = self.end + int(sounding[-1])
        so_far, agreed = self._decoder.words_so_far(self._search, np.concatenate(self._posteriors))
        spoken = self._stable[-1].end if self._stable else 0.0  # the search may have changed its mind on what is stable
        self._begun = [word for word in self._decoded(so_far) if (word.start + word.end) / 2 > spoken]
        self._agreed = agreed - (len(so_far) - len(self._begun))

    @property
    def quiet(self) -> int:
        return self.end - 1 - self._last

    def words(self) -> list[Word]:
        return self._stable + self._begun

    def settle(self) -> int:
        """All words are stable after PAUSE seconds without a phone, else those that ended AGREED or DECIDED seconds
        ago."""
        now = self.end * self._frame
        if self.quiet * self._frame >= PAUSE:
            count = len(self._begun)
        else:
            count = sum(
                word.end <= now - (AGREED if number < self._agreed else DECIDED)
                for number, word in enumerate(self._begun)
            )
        self._stable += self._begun[:count]
        del self._begun[:count]
        self._agreed -= count
        return len(self._stable)

    def final(self, log_probs: np.ndarray | None = None) -> list[Word]:
        if log_probs is None:
            found = self._decoder.phone_hypotheses(self._search, np.concatenate(self._posteriors))
        else:
            found = self._decoder.decode_phones(log_probs)
        return self._decoded(found[0].words) or self.words()


def joined(words: list[Word]) -> str:
    return " ".join(word.text for word in words)
