"""Splits that share no speaker, and the cuts (Lhotse's utterances with their audio) they consist of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.config import SpeakerSelection
from velocity.data.manifests import read_lines, to_line, write_lines
from velocity.errors import VelocityError
from velocity.text import normalize

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSet

SPLITS = ("train", "validation", "test")
LONGEST_WINDOW = 20.0  # seconds of an unlabelled cut


def split_speakers(
    corpus: str, speakers: Iterable[str], test: SpeakerSelection, validation: SpeakerSelection, seed: int
) -> dict[str, str]:
    """Speaker → ``train``, ``validation`` or ``test``.

    A share takes the speakers whose SHA-256 of "seed/corpus/speaker" falls below it (test first, validation next to
    it), so that a speaker stays where it is when others come or go. A text is a regular expression searched for in
    the speaker's name; test goes before validation.
    Raises VelocityError for a share outside 0–1, a faulty expression, and a split that ends up empty though asked for.
    """
    in_test = _Selection(f"corpora.{corpus}.test", test)
    in_validation = _Selection(f"corpora.{corpus}.validation", validation)
    after_test = in_test.share or 0.0
    splits = {}
    for speaker in sorted(set(speakers)):
        place = _place(f"{seed}/{corpus}/{speaker}")
        if in_test.takes(speaker, place, 0.0):
            splits[speaker] = "test"
        elif in_validation.takes(speaker, place, after_test):
            splits[speaker] = "validation"
        else:
            splits[speaker] = "train"
    for split, selection in (("test", in_test), ("validation", in_validation)):
        if not selection.nobody and split not in splits.values():
            advice = f"change {selection.key} (0: no {split} set of this corpus) or add speakers"
            raise VelocityError(f"corpus {corpus}: its {split} split is empty ({len(splits)} speakers); {advice}")
    return splits


class _Selection:
    def __init__(self, key: str, selection: SpeakerSelection) -> None:
        self.key = key
        self.share = self.pattern = None
        if isinstance(selection, str):
            try:
                self.pattern = re.compile(selection)
            except re.error as error:
                raise VelocityError(f"{key}: {selection!r} is not a regular expression: {error}") from error
        elif 0 <= selection <= 1:
            self.share = float(selection)
        else:
            raise VelocityError(f"{key}: a share of the speakers is from 0 to 1, not {selection}")
        self.nobody = self.share == 0

    def takes(self, speaker: str, place: float, start: float) -> bool:
        if self.pattern is not None:
            return self.pattern.search(speaker) is not None
        return start <= place < start + self.share


def _place(key: str) -> float:
    """Uniform in [0, 1), by the first 53 bits of the hash."""
    return (int.from_bytes(sha256(key.encode()).digest()[:8], "big") >> 11) / 2**53


def split_corpus(
    recordings: RecordingSet,
    supervisions: SupervisionSet,
    corpus: str,
    test: SpeakerSelection,
    validation: SpeakerSelection,
    seed: int,
) -> dict[str, list[MonoCut]]:
    """Cuts of a labelled corpus by split, in the manifests' order, texts normalised, those without words left out."""
    by_id = {recording.id: recording for recording in recordings}
    splits = split_speakers(corpus, (segment.speaker for segment in supervisions), test, validation, seed)
    cuts: dict[str, list[MonoCut]] = {split: [] for split in SPLITS}
    for segment in supervisions:
        text = normalize(segment.text)
        if text:
            cut = _cut(by_id[segment.recording_id])
            cut.supervisions.append(replace(segment, text=text))
            cuts[splits[segment.speaker]].append(cut)
    return cuts


def window_recordings(recordings: RecordingSet) -> list[MonoCut]:
    """Cuts without text: whole recordings, long ones in equal windows of at most LONGEST_WINDOW seconds."""
    cuts = []
    for recording in recordings:
        count = ceil(recording.duration / LONGEST_WINDOW)
        length = recording.num_samples // count / recording.sampling_rate
        for index in range(count):
            cut = _cut(recording)
            if count > 1:
                cut = replace(cut, id=f"{recording.id}-{index:04d}", start=index * length, duration=length)
            cuts.append(cut)
    return cuts


def _cut(recording: Recording) -> MonoCut:
    """The whole of it; its first channel stands for all, which ``load_audio`` averages."""
    from lhotse import MonoCut

    return MonoCut(recording.id, 0.0, recording.duration, recording.channel_ids[0], recording=recording)


def save_cuts(cuts: Iterable[MonoCut], path: str | Path) -> None:
    write_lines(path, map(to_line, cuts))


def load_cuts(path: str | Path) -> CutSet:
    """All cuts of a file in memory, in its order. Raises VelocityError when it is missing or is not a manifest."""
    from lhotse import CutSet
    from lhotse.serialization import deserialize_item

    return CutSet.from_cuts([deserialize_item(line) for line in read_lines(path)])


def describe(cuts: Iterable[MonoCut]) -> dict[str, float]:
    """Utterances, hours, and where there is text: speakers and words."""
    cuts = list(cuts)
    segments = [segment for cut in cuts for segment in cut.supervisions]
    return {
        "utterances": len(cuts),
        "hours": round(sum(cut.duration for cut in cuts) / 3600, 4),
        "speakers": len({(segment.custom["corpus"], segment.speaker) for segment in segments}),
        "words": sum(len(segment.text.split()) for segment in segments),
    }
