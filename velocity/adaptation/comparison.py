"""The base beside candidates, on the person's own speech and on that of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from velocity.adaptation.judgement import GENERAL, keeps
from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.testset import Utterance
from velocity.gate import Hypotheses


class Comparison:
    """``speech``: OWN, GENERAL or both → utterances. ``greedy`` compares the models without what they decode with."""

    def __init__(self, base: Path, speech: Mapping[str, Sequence[Utterance]], greedy: bool) -> None:
        self.base, self.speech, self.greedy = base, speech, greedy
        self._recognised: dict[tuple[Path, str], list[str]] = {}

    def first_that_keeps(self, candidates: Iterable[Path]) -> Path:
        """The first candidate that keeps general speech, or else the last. General speech alone chooses it, so the
        person's own judges one model. Those after it are not made, if ``candidates`` makes them."""
        for model in candidates:
            if keeps(self._both(model, GENERAL)):
                break
        return model

    def hypotheses(self, model: Path) -> dict[str, Hypotheses]:
        """On each kind of speech."""
        return {part: self._both(model, part) for part in self.speech}

    def _both(self, model: Path, part: str) -> Hypotheses:
        return Hypotheses(self.speech[part], self._recognise(self.base, part), self._recognise(model, part))

    def _recognise(self, model: Path, part: str) -> list[str]:
        if (model, part) not in self._recognised:
            title = f"{part}, {'base' if model == self.base else 'adapted'}"
            with IsolatedRecogniser(model, greedy=self.greedy) as recogniser:
                self._recognised[model, part] = recogniser.transcribe(self.speech[part], title)
        return self._recognised[model, part]
