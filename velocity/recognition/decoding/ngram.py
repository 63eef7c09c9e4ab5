"""Word n-gram models through KenLM, which reads ARPA files and its own binaries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError

LN10 = math.log(10)


class NGram:
    """The conditional log-probabilities of words, natural logarithms (Heafield 2011, "KenLM").

    ``unigrams``: of each word, empty for a binary, which does not list its words; ``unknown``: of any other word.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises VelocityError when KenLM is not installed, or ``path`` is missing or not a model."""
        try:
            import kenlm
        except ImportError as error:
            install = "make lm, or pip install 'velocity-asr[lm]'"
            raise VelocityError(f"{path}: language models need KenLM: {install}") from error
        if not Path(path).is_file():
            raise VelocityError(f"{path}: no such language model; `velocity-asr lm build` makes one from text")
        config = kenlm.Config()
        config.show_progress, config.arpa_complain = False, kenlm.ARPALoadComplain.NONE
        try:
            self._model = kenlm.Model(str(path), config)
        except (OSError, RuntimeError) as error:
            raise VelocityError(f"{path}: neither an ARPA file nor a KenLM binary") from error
        self._state = kenlm.State
        self.unknown = LN10 * self._model.score("<unk>", bos=False, eos=False)
        self.unigrams = _unigrams(Path(path))

    def start(self) -> Any:
        """The state at the beginning of a sentence."""
        state = self._state()
        self._model.BeginSentenceWrite(state)
        return state

    def word(self, state: Any, word: str) -> tuple[Any, float]:
        """(the state after ``word``, its natural log-probability)."""
        after = self._state()
        return after, LN10 * self._model.BaseScore(state, word, after)

    def end(self, state: Any) -> float:
        """The natural log-probability that the sentence ends."""
        return LN10 * self._model.BaseScore(state, "</s>", self._state())

    def __contains__(self, word: str) -> bool:
        return word in self._model


def _unigrams(path: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        if "\\data\\" not in file.readline(100):
            return found  # a binary
        for line in file:
            if line.startswith("\\1-grams:"):
                break
        for line in file:
            if not line.strip():
                break
            log_prob, word, *_ = line.split()
            found[word] = LN10 * float(log_prob)
    return {word: value for word, value in found.items() if word not in ("<s>", "</s>", "<unk>")}
