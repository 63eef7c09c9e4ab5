"""Measure a candidate and compare it with the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from velocity.config.gate import Gate
from velocity.errors import VelocityError
from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.side_by_side import take_turns
from velocity.evaluation.speed import CLIP, measure_once
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import Score, score
from velocity.gate.statistics import Difference, Ratio, median_ratio, paired_difference
from velocity.project import EXPORTED, METRICS


@dataclass(frozen=True)
class Sizes:
    """In bytes."""

    model: int  # model.onnx
    peak_rss: int  # of a fresh process that transcribes CLIP seconds


@dataclass(frozen=True)
class Hypotheses:
    """Both models' normalised hypotheses for one test set."""

    utterances: Sequence[Utterance]
    champion: Sequence[str]
    candidate: Sequence[str]

    @property
    def references(self) -> list[str]:
        return [utterance.text for utterance in self.utterances]

    def scores(self) -> tuple[Score, Score]:
        """The champion's and the candidate's."""
        return score(self.references, self.champion), score(self.references, self.candidate)


@dataclass(frozen=True)
class Facts:
    """What the gate judges. Without a champion ``wer`` is empty and ``speed`` is None."""

    candidate: str  # as the user names them
    champion: str | None
    sizes: Mapping[str, Sizes]  # "champion", "candidate"
    wer: Mapping[str, Difference] = field(default_factory=dict)  # test set → difference
    speed: Ratio | None = None
    parity: Sequence[str] | None = None  # failures against PyTorch; None: not checked


@dataclass(frozen=True)
class Model:
    """An exported model: its name, its folder, and the checkout whose code runs it (default: this one)."""

    name: str
    folder: Path
    code: Path | None = None

    def recogniser(self) -> IsolatedRecogniser:
        return IsolatedRecogniser(self.folder, self.code)


def measure(candidate: Model, champion: Model | None, hypotheses: Mapping[str, Hypotheses], limits: Gate) -> Facts:
    """Sizes, memory and speed on this machine, error rates from ``hypotheses``, parity from the candidate's metrics."""
    models = {"candidate": candidate} | ({"champion": champion} if champion else {})
    sizes, parity = {role: measure_sizes(model.folder) for role, model in models.items()}, read_parity(candidate.folder)
    if champion is None:
        return Facts(candidate.name, None, sizes, parity=parity)
    wer = {name: paired_difference(*both.scores(), limits.bootstrap) for name, both in hypotheses.items()}
    speed = measure_speed(candidate, champion, limits.rounds)
    return Facts(candidate.name, champion.name, sizes, wer, speed, parity)


def recognise(candidate: Model, champion: Model, test_sets: Mapping[str, Sequence[Utterance]]) -> dict[str, Hypotheses]:
    """Transcribe every test set with both. Raises VelocityError when a model or a file cannot be read."""
    with champion.recogniser() as first, candidate.recogniser() as second:
        return {
            name: Hypotheses(
                utterances,
                champion=first.transcribe(utterances, f"{name}, champion"),
                candidate=second.transcribe(utterances, f"{name}, candidate"),
            )
            for name, utterances in test_sets.items()
        }


def measure_sizes(folder: Path) -> Sizes:
    return Sizes((folder / "model.onnx").stat().st_size, measure_once(folder)["peak_rss_bytes"])


def measure_speed(candidate: Model, champion: Model, rounds: int) -> Ratio:
    """Both in turn, each in a process of its own, on one thread, features included."""
    return median_ratio(*take_turns([champion.recogniser(), candidate.recogniser()], rounds), clip_seconds=CLIP)


def read_parity(folder: Path) -> list[str] | None:
    """The parity failures that the stage ``evaluate`` found in the artefact and in those released with it; empty if
    all passed, None if the artefact was not checked.

    ``metrics.json`` lies beside the artefact in the registry, and in ``reports/`` of the project that made it.
    """
    folder = folder.resolve()
    places = [folder.parent / "metrics.json"]
    if Path(*folder.parts[-3:-1]) == EXPORTED:
        places.append(folder.parents[2] / METRICS)
    for path in filter(Path.is_file, places):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["parity"]
            if folder.name not in found:
                return None
            beside = sorted(name for name in found if name != folder.name and (folder.parent / name).is_dir())
            others = [f"{name}: {failure}" for name in beside for failure in found[name]["failed"]]
            return [*found[folder.name]["failed"], *others]
        except (ValueError, KeyError, TypeError) as error:
            raise VelocityError(f"{path}: not the metrics of an evaluation; `dvc repro evaluate` makes it") from error
    return None
