"""A person's utterances, divided into those to train on and those to be judged by, as folders in LibriSpeech's layout.

The last recordings of each speaker are held out: what comes later is what a recogniser will hear, and neighbours, which
often are takes of one sentence, stay together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from velocity.corpora.collection import Spoken
from velocity.errors import VelocityError

HELD_OUT, LEAST_HELD_OUT = 0.2, 10  # share of each speaker's utterances; of all of them together
VALIDATION = 0.05  # share that is watched during training, and decides nothing
LEAST_SECONDS, LEAST_UTTERANCES = 60.0, 20
TRAIN, VALIDATED, TEST = "train", "validation", "test"

Parts = dict[str, list[Spoken]]


def divide(spoken: Sequence[Spoken], source: Path) -> Parts:
    """Utterances in the order of ``read_collection`` → those of each part. Raises VelocityError for too few of them."""
    seconds = sum(utterance.seconds for utterance in spoken)
    if seconds < LEAST_SECONDS or len(spoken) < LEAST_UTTERANCES:
        raise VelocityError(
            f"{source}: {seconds:.0f} s of speech in {len(spoken)} recordings are too little to adapt to and to judge "
            f"by: record at least {LEAST_SECONDS:.0f} s in {LEAST_UTTERANCES}; ten minutes are good"
        )
    parts: Parts = {TRAIN: [], VALIDATED: [], TEST: []}
    share = max(HELD_OUT, LEAST_HELD_OUT / len(spoken))
    for _, group in groupby(spoken, key=lambda utterance: utterance.speaker):
        own = list(group)
        tested = math.ceil(share * len(own))
        watched = round(VALIDATION * len(own))
        if not watched and not parts[VALIDATED] and len(own) - tested > 1:
            watched = 1
        first, second = len(own) - tested - watched, len(own) - tested
        parts[TRAIN] += own[:first]
        parts[VALIDATED] += own[first:second]
        parts[TEST] += own[second:]
    if not parts[TRAIN] or not parts[VALIDATED]:
        raise VelocityError(f"{source}: too few recordings of each speaker to adapt to some and to be judged by others")
    return parts


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
