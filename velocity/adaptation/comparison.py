"""The base beside candidates, on the person's own speech and on that of others, decoded as they will be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from velocity.adaptation.judgement import GENERAL, OWN, keeps
from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.testset import Utterance
from velocity.gate import Hypotheses

Setting = TypeVar("Setting")


class Comparison:
    """``own``: the person's utterances, those of each fold; none where nothing was trained. ``general``: others'."""

    def __init__(self, base: Path, own: Sequence[Sequence[Utterance]], general: Sequence[Utterance]) -> None:
        self.base, self.own, self.general = base, own, general
        self._recognised: dict[tuple[Path, str], list[str]] = {}

    def first_that_keeps(self, candidates: Iterable[tuple[Setting, Path]]) -> tuple[Setting, Path]:
        """The first candidate that keeps general speech, or else the last. General speech alone chooses it, so the
        person's own judges one model. Those after it are not made, if ``candidates`` makes them."""
        for candidate in candidates:
            if keeps(self._on_general(candidate[1])):
                break
        return candidate

    def hypotheses(self, model: Path, members: Sequence[Path]) -> dict[str, Hypotheses]:
        """Of ``model`` on GENERAL; of its ``members`` on OWN, each fold by the one that was not trained on it."""
        found = {GENERAL: self._on_general(model)}
        if self.own:
            pairs = [self._both(*each) for each in zip(members, self.own, range(1, len(self.own) + 1), strict=True)]
            base, adapted = (list(chain.from_iterable(texts)) for texts in zip(*pairs, strict=True))
            found = {OWN: Hypotheses(list(chain.from_iterable(self.own)), base, adapted), **found}
        return found

    def _on_general(self, model: Path) -> Hypotheses:
        base, adapted = (self._recognise(each, GENERAL, self.general) for each in (self.base, model))
        return Hypotheses(self.general, base, adapted)

    def _both(self, member: Path, utterances: Sequence[Utterance], fold: int) -> tuple[list[str], list[str]]:
        part = f"{OWN}, {fold} of {len(self.own)}"
        return self._recognise(self.base, part, utterances), self._recognise(member, part, utterances)

    def _recognise(self, model: Path, part: str, utterances: Sequence[Utterance]) -> list[str]:
        if (model, part) not in self._recognised:
            title = f"{part}, {'base' if model == self.base else 'adapted'}"
            with IsolatedRecogniser(model, greedy=False) as recogniser:
                self._recognised[model, part] = recogniser.transcribe(utterances, title)
        return self._recognised[model, part]
