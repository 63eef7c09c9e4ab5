"""The speed of several artefacts in turn: figures that may be compared, on a busy machine as well.

What is counted is processor time, of all threads of the artefact's process. Time on the clock also counts the waiting
for a processor that others use: beside trainings on both cores, medians of 60 ratios of a model to itself were 0.97 to
1.06 by the clock and 0.99 to 1.01 by processor time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.speed import CLIP

ROUNDS = 21


def side_by_side(artefacts: Mapping[str, Path], baseline: str, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """{name: {"rtf": seconds of work a second of audio, "rtf_ratio": times the baseline's}}, one thread, features in.

    Both are medians over the rounds; a ratio is taken within a round, so that a machine that is slower for a while is
    so for both. The audio is noise: what a recogniser costs depends on the length of its input alone.
    """
    recognisers = [IsolatedRecogniser(folder) for folder in artefacts.values()]
    seconds = dict(zip(artefacts, take_turns(recognisers, rounds), strict=True))
    return {name: figures(took, seconds[baseline]) for name, took in seconds.items()}


def take_turns(recognisers: Sequence[IsolatedRecogniser], rounds: int = ROUNDS) -> list[list[float]]:
    """The seconds of processor time that each artefact takes for ``CLIP`` seconds of audio in each of the rounds.

    After one round to warm up; every round starts with another. Raises VelocityError when one cannot be loaded.
    """
    seconds: list[list[float]] = [[] for _ in recognisers]
    with ExitStack() as stack:
        at_work = [stack.enter_context(recogniser) for recogniser in recognisers]
        for turn in range(rounds + 1):
            for index in [(turn + offset) % len(at_work) for offset in range(len(at_work))]:
                seconds[index].append(at_work[index].processor_time(CLIP))
    return [took[1:] for took in seconds]


def figures(took: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Of the seconds that an artefact and the baseline took in the same rounds."""
    ratios = [own / other for own, other in zip(took, baseline, strict=True)]
    return {"rtf": round(statistics.median(took) / CLIP, 6), "rtf_ratio": round(statistics.median(ratios), 4)}
