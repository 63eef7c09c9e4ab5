"""Cuts (Lhotse's utterances with their audio): made of manifests, put where they belong, written and read.

Everything is streamed: millions of cuts take no more memory than a hundred thousand.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import IO, Any

from velocity.audio import SAMPLE_RATE, frame_count
from velocity.config.corpora import Corpus
from velocity.data.manifests import RECORDINGS, count_lines, read_utterances, to_line, write_lines
from velocity.data.sorting import Sorter
from velocity.data.splits import OTHER_SPLIT, UNUSED_PART, Splits
from velocity.progress import track
from velocity.text import normalize

LONGEST_WINDOW = 20.0  # seconds of an unlabelled cut
PRETRAIN = "pretrain"  # where cuts go that pretraining alone uses: those without text, and some corpora
EXCLUDED, NO_WORDS, NOT_ALIGNABLE = "excluded-by-validation", "no-words", "too-short-for-its-text"
LEFT_OUT = (EXCLUDED, NO_WORDS, UNUSED_PART, OTHER_SPLIT, NOT_ALIGNABLE)  # why, in the order of looking

Cut = dict[str, Any]  # as Lhotse writes a MonoCut; its objects take ten times as long to make and to write
Alignable = Callable[[str, int], bool]  # (normalised text, feature frames) → whether CTC has a path


def place_cuts(
    name: str, corpus: Corpus, folder: Path, splits: Splits, excluded: set[str], alignable: Alignable
) -> Iterator[tuple[str, Cut]]:
    """(split, PRETRAIN, or one of LEFT_OUT; cut) of each utterance of a corpus, texts normalised, by id.

    Training and validation cuts that CTC cannot align are left out, for they have no loss. Those of a test set stay:
    a recogniser must answer for them. Raises VelocityError when a manifest is missing or faulty.
    """
    for recording, segments in track(read_utterances(folder), f"prepare {name}", count_lines(folder / RECORDINGS)):
        if not corpus.labelled:
            heard = all(splits.may_train(name, segment["speaker"]) for segment in segments)
            place = EXCLUDED if recording["id"] in excluded else PRETRAIN if heard else OTHER_SPLIT
            yield from ((place, cut) for cut in window_recording(recording))
            continue
        for segment in segments:
            cut = utterance_cut(recording, segment)
            (spoken,) = cut["supervisions"]
            place = splits.of(name, spoken["speaker"], spoken["custom"].get("part", ""), segment["id"])
            if segment["id"] in excluded or recording["id"] in excluded:
                place = EXCLUDED
            elif not spoken["text"]:
                place = NO_WORDS
            elif place in ("train", "validation") and not alignable(spoken["text"], feature_frames(cut)):
                place = NOT_ALIGNABLE
            if place == "train" and corpus.repeat > 1:
                cut["custom"] = {"repeat": corpus.repeat}
            yield PRETRAIN if place == "train" and corpus.pretrain_only else place, cut


def utterance_cut(recording: dict[str, Any], segment: dict[str, Any]) -> Cut:
    """What is said in ``segment``, its text normalised."""
    spoken = {**segment, "start": 0.0, "text": normalize(segment.get("text") or "")}
    return _cut(segment["id"], segment["start"], segment["duration"], [spoken], recording)


def window_recording(recording: dict[str, Any]) -> Iterator[Cut]:
    """Cuts without text: the whole recording, a long one in equal windows of at most LONGEST_WINDOW seconds."""
    count = ceil(recording["duration"] / LONGEST_WINDOW)
    if count == 1:
        yield _cut(recording["id"], 0.0, recording["duration"], [], recording)
        return
    length = recording["num_samples"] // count / recording["sampling_rate"]
    for index in range(count):
        yield _cut(f"{recording['id']}-{index:04d}", index * length, length, [], recording)


def _cut(name: str, start: float, seconds: float, supervisions: list[dict[str, Any]], recording: dict[str, Any]) -> Cut:
    """The recording's first channel stands for all, which are averaged when it is read."""
    return {
        "id": name,
        "start": start,
        "duration": seconds,
        "channel": recording["sources"][0]["channels"][0],
        "supervisions": supervisions,
        "recording": recording,
        "type": "MonoCut",
    }


def feature_frames(cut: Cut) -> int:
    return frame_count(round(cut["duration"] * SAMPLE_RATE))


def write_splits(placed: Iterable[tuple[str, Cut]], seed: int, folder: str | Path) -> dict[str, Any]:
    """Write what ``place_cuts`` gives, a file a split; {"splits": figures of each, "left_out": by corpus and reason}.

    ``train.jsonl`` and ``pretrain.jsonl`` (``train`` and what pretraining alone uses) are in the order of a hash of the
    seed and the cut's id: shuffled as a whole, so that training may read them from front to back, and in an order that
    stays when cuts are added. The others are as they come.
    """
    folder = Path(folder)
    figures = {split: Figures() for split in ("pretrain", "train", "validation")}
    left_out: dict[str, Counter[str]] = {}
    with ExitStack() as stack:
        train, pretrain = (stack.enter_context(Sorter(folder)) for _ in range(2))
        files: dict[str, IO[str]] = {}
        for place, cut in placed:
            if place in LEFT_OUT:
                left_out.setdefault(cut["id"].partition("/")[0], Counter())[place] += 1
                continue
            if place in ("train", PRETRAIN):
                (train if place == "train" else pretrain).add(training_place(seed, cut["id"]), to_line(cut))
                figures["pretrain"].add(cut)
            else:
                if place not in files:
                    files[place] = stack.enter_context(open(folder / f"{place}.jsonl", "w", encoding="utf-8"))
                files[place].write(to_line(cut))
            if place != PRETRAIN:
                figures.setdefault(place, Figures()).add(cut)
        write_lines(folder / "train.jsonl", (line for _, line in train))
        everything = heapq.merge(train, pretrain, key=lambda pair: pair[0])
        write_lines(folder / "pretrain.jsonl", (line for _, line in everything))
    return {
        "splits": {split: counted.to_dict() for split, counted in sorted(figures.items())},
        "left_out": {name: dict(reasons) for name, reasons in left_out.items()},
    }


def training_place(seed: int, cut_id: str) -> str:
    """The key that training order is sorted by."""
    return sha256(f"{seed}/{cut_id}".encode()).hexdigest()[:32]


class Figures:
    """Utterances, hours, and where there is text speakers and words, of the cuts that were added."""

    def __init__(self) -> None:
        self._utterances = self._words = 0
        self._seconds = 0.0
        self._speakers: set[tuple[str, str]] = set()

    def add(self, cut: Cut) -> None:
        self._utterances += 1
        self._seconds += cut["duration"]
        for segment in cut["supervisions"]:
            self._words += len(segment["text"].split())
            self._speakers.add((segment["custom"]["corpus"], segment["speaker"]))

    def to_dict(self) -> dict[str, float]:
        hours = round(self._seconds / 3600, 4)
        speakers = len(self._speakers)
        return {"utterances": self._utterances, "hours": hours, "speakers": speakers, "words": self._words}
