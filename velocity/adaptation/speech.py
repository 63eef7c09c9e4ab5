"""A person's utterances, divided into those to train on and those to be judged by, as folders in LibriSpeech's layout.

Cross-validation: each utterance is held out of one of FOLDS trainings, so all of them judge, and all are trained on.
Neighbours, which often are takes of one sentence, are held out together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from velocity.corpora.collection import Spoken
from velocity.errors import VelocityError

FOLDS = 3
VALIDATION = 0.05  # share of a training's utterances that is watched during training, and decides nothing
LEAST_SECONDS, LEAST_UTTERANCES = 60.0, 20
TRAIN, VALIDATED, TEST = "train", "validation", "test"

Parts = dict[str, list[Spoken]]


def divide(spoken: Sequence[Spoken], source: Path) -> list[Parts]:
    """Utterances in the order of ``read_collection`` → the parts of each fold. Raises VelocityError for too few."""
    seconds = sum(utterance.seconds for utterance in spoken)
    if seconds < LEAST_SECONDS or len(spoken) < LEAST_UTTERANCES:
        raise VelocityError(
            f"{source}: {seconds:.0f} s of speech in {len(spoken)} recordings are too little to adapt and "
            f"evaluate: record at least {LEAST_SECONDS:.0f} s in {LEAST_UTTERANCES} recordings; ten minutes are better"
        )
    folds: list[Parts] = [{TRAIN: [], VALIDATED: [], TEST: []} for _ in range(FOLDS)]
    for _, group in groupby(spoken, key=lambda utterance: utterance.speaker):
        own = list(group)
        edges = [len(own) * fold // FOLDS for fold in range(FOLDS + 1)]
        for parts, (first, last) in zip(folds, pairwise(edges), strict=True):
            rest = own[:first] + own[last:]
            watched = round(VALIDATION * len(rest))
            if not watched and not parts[VALIDATED] and len(rest) > 1:
                watched = 1
            parts[TRAIN] += rest[: len(rest) - watched]
            parts[VALIDATED] += rest[len(rest) - watched :]
            parts[TEST] += own[first:last]
    if not all(all(parts.values()) for parts in folds):
        raise VelocityError(f"{source}: too few recordings per speaker to train on some and test on the others")
    return folds


def write_parts(parts: Parts, folder: Path) -> None:
    """Links to the recordings, ``<part>/<speaker>/<part>_<speaker>-<nnnn>-<name>``, and a ``*.trans.txt`` a speaker.

    The speaker of such an id is ``<part>_<speaker>``, so that ``corpora`` can tell the parts by it.
    """
    for part, utterances in parts.items():
        counts: dict[str, int] = {}
        for utterance in utterances:
            speaker = f"{part}_{utterance.speaker}"
            number = counts[speaker] = counts.get(speaker, 0) + 1
            name = f"{speaker}-{number:04d}-{re.sub(r'[^0-9A-Za-z]+', '_', utterance.path.stem)[:60]}"
            own = folder / part / utterance.speaker
            own.mkdir(parents=True, exist_ok=True)
            (own / f"{name}{utterance.path.suffix}").symlink_to(utterance.path.resolve())
            with open(own / f"{speaker}.trans.txt", "a", encoding="utf-8") as file:
                file.write(f"{name} {' '.join(utterance.text.split())}\n")


def total(utterances: Iterable[Spoken]) -> float:
    """Seconds."""
    return sum(utterance.seconds for utterance in utterances)
