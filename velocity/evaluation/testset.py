"""Utterances with reference texts, read from a manifest of cuts or from a folder in LibriSpeech layout."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE, load_audio
from velocity.corpora.layout import find_audio, find_transcripts, read_transcripts, speakers_of
from velocity.corpora.utterances import Transcript, fault_of, match
from velocity.errors import VelocityError, printable
from velocity.project import RAW, test_manifests
from velocity.text import normalize

LIBRISPEECH = {"libri_speech_test_clean": "test-clean", "libri_speech_test_other": "test-other"}
LIBRISPEECH_ROOT = RAW / "librispeech"  # as the stage fetch unpacks it


@dataclass(frozen=True)
class Utterance:
    """A segment of an audio file and its normalised text; ``seconds`` is None for the rest of the file."""

    id: str
    path: Path
    text: str
    start: float = 0.0
    seconds: float | None = None
    group: str | None = None  # such as "child": also scored separately
    speaker: str | None = None

    def samples(self) -> np.ndarray:
        """(samples,) float32 at 16 kHz. Raises VelocityError when the file cannot be read or is too short."""
        whole = _recording(self.path)
        first = round(self.start * SAMPLE_RATE)
        end = len(whole) if self.seconds is None else first + round(self.seconds * SAMPLE_RATE)
        if first >= len(whole) or first >= end:
            raise VelocityError(f"{self.path}: ends before {self.start} s, where {self.id} starts")
        return whole[first:end]


@lru_cache(maxsize=1)
def _recording(path: Path) -> np.ndarray:
    """Keep the last file decoded: the cuts of a long recording follow each other."""
    return load_audio(path)


@dataclass(frozen=True)
class TestSet:
    """``faults``: a line on each utterance and each file that is left out."""

    __test__ = False  # no test of pytest

    name: str
    utterances: list[Utterance]  # sorted by id
    faults: list[str]


def load_test_set(name: str) -> tuple[str, list[Utterance]]:
    """(name, utterances) of a whole test set. Raises VelocityError also for what ``read_test_set`` leaves out."""
    found = read_test_set(name)
    if found.faults:
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        raise VelocityError(f"{found.faults[0]}{more}")
    return found.name, found.utterances


def read_test_set(name: str) -> TestSet:
    """The test set of that name, or in a folder in LibriSpeech layout or a ``.jsonl`` of cuts.

    Names: ``<corpus>-test`` for a corpus that this project prepared, ``<corpus>-test-clean`` for an official part of
    it, ``libri_speech_test_clean`` and ``…_other``.
    Raises VelocityError when there is none, or it is empty, or its manifest is faulty.
    """
    source = Path(name)
    if not source.exists():
        source = _named(name)
    utterances, faults = _read_folder(source) if source.is_dir() else (list(_read_cuts(source)), [])
    if not utterances:
        raise VelocityError(f"{source}: contains no utterances{f'; {faults[0]}' if faults else ''}")
    utterances.sort(key=lambda utterance: utterance.id)
    return TestSet(manifest_name(source) if source.suffix == ".jsonl" else source.name, utterances, faults)


def manifest_name(path: Path) -> str:
    """Cuts of ``mine``: ``test-mine.jsonl`` → ``mine-test``, ``test-mine-clean.jsonl`` → ``mine-test-clean``.

    Other manifests are named by their file.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r'"corpus": "([^"]+)"', file.readline())  # the line may not be a cut
    corpus = found[1] if found else path.stem.removeprefix("test-")
    return re.sub(rf"^test-{re.escape(corpus)}(?=-|$)", f"{corpus}-test", path.stem)


def _named(name: str) -> Path:
    if name in LIBRISPEECH:
        part = LIBRISPEECH[name]
        folder = LIBRISPEECH_ROOT / part / "LibriSpeech" / part
        if not folder.is_dir() and (prepared := _prepared().get(f"librispeech-{part}")):
            return prepared
        if not folder.is_dir():
            advice = f"unpack {part}.tar.gz in {folder.parents[1]}"
            raise VelocityError(f"{name}: LibriSpeech's {part} is not in {folder}; {advice}")
        return folder
    prepared = _prepared()
    if name in prepared:
        return prepared[name]
    known = f"{', '.join(prepared) or 'none'}; {', '.join(LIBRISPEECH)}"
    raise VelocityError(f"{name}: neither a folder, a manifest nor a test set of this project ({known})")


def _prepared() -> dict[str, Path]:
    return {manifest_name(path): path for path in test_manifests()}


def _read_folder(folder: Path) -> tuple[list[Utterance], list[str]]:
    """What the stage ``fetch`` reads in it, and a line on each fault. Audio without a transcript is only counted."""
    paths = find_transcripts(folder)
    if not paths:
        raise VelocityError(f"{folder}: no *.trans.txt in or below it: not in LibriSpeech layout")
    utterances, faults, unknown, complete = [], [], [], speakers_of(folder)

    def transcripts() -> Iterator[tuple[str, Transcript]]:
        for path in paths:
            try:
                yield from read_transcripts(path)
            except VelocityError as error:
                faults.append(str(error))

    for name, files, found in match(find_audio(folder), transcripts(), f"read {folder.name}"):
        fault = fault_of(files, found)
        if fault and not found:
            unknown += files
        elif fault:
            kind, places = fault
            faults += [f"{printable(place)}: {printable(name)}: {kind.replace('-', ' ')}" for place in places]
        else:
            spoken = complete(found[0], files[0])
            group, speaker = spoken.group, spoken.speaker
            utterances.append(Utterance(name, files[0], normalize(spoken.text), group=group, speaker=speaker))
    if unknown:
        such = f"such as {printable(unknown[0])}"
        print(f"warning: {len(unknown)} audio files have no transcript and are left out, {such}", file=sys.stderr)
    return utterances, faults


def _read_cuts(manifest: Path) -> Iterator[Utterance]:
    """Lhotse MonoCuts, one JSON object a line, read without Lhotse: importing it takes longer than a short test."""
    with open(manifest, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                cut = json.loads(line.decode())
                source = cut["recording"]["sources"][0]["source"]
                spoken = cut["supervisions"]
                text = normalize(" ".join(supervision["text"] for supervision in spoken))
                first = spoken[0] if spoken else {}
                group = (first.get("custom") or {}).get("group")
                stretch = cut["start"], cut["duration"]
                utterance = Utterance(cut["id"], Path(source), text, *stretch, group, first.get("speaker"))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                raise VelocityError(f"{manifest} line {number}: not a cut with a recording and text") from error
            yield utterance
