"""A folder of speech in LibriSpeech layout (Panayotov et al. 2015) → Lhotse manifests.

Audio files of any format soundfile reads, anywhere below the folder; with them ``*.trans.txt``, a line 'ID TEXT' an
utterance, ID being the audio file's name without its ending. The speaker is what stands before the first '-' of the ID,
or else the folder two levels up. ``SPEAKERS.TXT`` is optional: '|' between columns, the last ';' line names them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity.audio import AUDIO_SUFFIXES
from velocity.config.section import SpeakerSelection, section
from velocity.corpora.kind import Kind, Repeat
from velocity.corpora.utterances import Transcript, age_group, describe, read_lines
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.data.manifests import Item


@section
class FolderCorpus:
    kind: Literal["folder"]
    source: str  # the folder
    labelled: bool = True  # False: audio alone, used by pretraining only
    test: SpeakerSelection = 0.1
    validation: SpeakerSelection = 0.05
    repeat: Repeat = 1
    utterances: str = ""  # a regular expression searched for in their ids: those it is not found in are left out

    def __post_init__(self) -> None:
        try:
            re.compile(self.utterances)
        except re.error as error:
            raise ValueError(f"utterances: {self.utterances!r} is no regular expression ({error})") from error


def bring(corpus: Any, _seed: int, folder: Path) -> None:
    (folder / "SOURCE").write_text(f"{corpus.source}\n", encoding="utf-8")


def read(name: str, corpus: FolderCorpus, _raw: Path) -> Iterator[Item]:
    chosen = re.compile(corpus.utterances)
    for item in read_folder(name, corpus.source, corpus.labelled):
        if chosen.search(item.id):
            yield item


def read_folder(name: str, folder: str | Path, labelled: bool = True, synthetic: bool = False) -> Iterator[Item]:
    """What ``describe`` gives, by id; paths begin as ``folder`` does. Without labels there are no supervisions.

    Raises VelocityError for a missing folder, no audio or no transcript in it, and a transcript that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VelocityError(f"corpora.{name}.source: {folder}: no such folder")
    audio = _find_audio(name, folder)
    if not labelled:
        yield from describe(name, audio, None)
        return
    ages = _read_ages(folder / "SPEAKERS.TXT")

    def complete(transcript: Transcript, path: Path) -> Transcript:
        speaker = _speaker_of(path.relative_to(folder))
        return replace(transcript, speaker=speaker, group=age_group(ages.get(speaker)))

    yield from describe(name, audio, _read_transcripts(name, folder), complete, synthetic)


def _find_audio(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """(utterance id, file) of every audio file below ``folder``, in no order."""
    found = False
    for parent, _, files in os.walk(folder):
        for path in (Path(parent, file) for file in files):
            if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
                found = True
                yield path.stem, path
    if not found:
        raise VelocityError(f"corpora.{name}.source: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")


def _read_transcripts(name: str, folder: Path) -> Iterator[tuple[str, Transcript]]:
    """Each line of every ``*.trans.txt``, still without its speaker."""
    paths = sorted(folder.rglob("*.trans.txt"))
    if not paths:
        advice = f"set corpora.{name}.labelled to false if it has none"
        raise VelocityError(f"corpora.{name}.source: {folder}: no *.trans.txt below it; {advice}")
    for path in paths:
        for number, line in enumerate(read_lines(path), 1):
            utterance, _, text = line.replace("\t", " ").strip().partition(" ")
            if utterance:
                yield utterance, Transcript(text.strip(), f"{path} line {number}", speaker=None)


def _read_ages(path: Path) -> dict[str | None, float]:
    """Speaker → age in years, of those the file has one for; {} without a file or a column ``age``."""
    if not path.is_file():
        return {}
    columns: list[str] = []
    ages: dict[str | None, float] = {}
    for line in read_lines(path):
        cells = [cell.strip() for cell in line.lstrip("; ").split("|")]
        if line.startswith(";"):
            columns = [cell.lower() for cell in cells]
        elif "age" in columns and len(cells) == len(columns):
            try:
                ages[cells[0]] = float(cells[columns.index("age")])
            except ValueError:  # "unknown" and the like
                continue
    return ages


def _speaker_of(path: Path) -> str | None:
    speaker, dash, _ = path.stem.partition("-")
    if dash and speaker:
        return speaker
    return path.parts[-3] if len(path.parts) >= 3 else None


KIND = Kind(FolderCorpus, bring, read)
