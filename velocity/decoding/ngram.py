"""A word n-gram model behind KenLM, which reads ARPA files and its own binaries."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError

LN10 = math.log(10)


class NGram:
    """The conditional probabilities of words, in natural logarithms (Heafield 2011, "KenLM")."""

    def __init__(self, path: str | Path) -> None:
        """Raises VelocityError when KenLM is not installed, or ``path`` is missing or no model."""
        try:
            import kenlm
        except ImportError as error:
            raise VelocityError(f"{path}: language models need KenLM: pip install 'velocity-asr[lm]'") from error
        if not Path(path).is_file():
            raise VelocityError(f"{path}: no such language model; `velocity-asr lm build` makes one from text")
        config = kenlm.Config()
        config.show_progress = False
        try:
            self._model = kenlm.Model(str(path), config)
        except (OSError, RuntimeError) as error:
            raise VelocityError(f"{path}: neither an ARPA file nor a KenLM binary") from error
        self._state = kenlm.State

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
