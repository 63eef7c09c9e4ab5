"""A folder of speech in LibriSpeech layout (Panayotov et al. 2015) → Lhotse manifests.

Audio files of any format soundfile reads, anywhere below the folder; with them ``*.trans.txt``, a line 'ID TEXT' an
utterance, ID being the audio file's name without its ending. The speaker is what stands before the first '-' of the ID,
or else the folder two levels up. ``SPEAKERS.TXT`` is optional: '|' between columns, the last ';' line names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.audio import AUDIO_SUFFIXES
from velocity.corpora.utterances import (
    Faults,
    Transcript,
    age_group,
    collect_audio,
    collect_transcripts,
    describe,
    read_lines,
)
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.corpora.utterances import Manifests


def read_folder(name: str, folder: str | Path, labelled: bool = True, synthetic: bool = False) -> Manifests:
    """Recordings and supervisions, sorted by id (``<name>/<utterance id>``), their paths beginning as ``folder`` does.

    Without labels the supervisions are empty. What is wrong with single utterances comes as faults, and these are not
    among the others: ``unreadable-audio``, ``transcript-without-audio``, ``audio-without-transcript``,
    ``duplicate-id``, ``malformed-transcript`` and ``unknown-speaker``.
    Raises VelocityError for a missing folder, no audio or no transcript in it, and a transcript that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VelocityError(f"corpora.{name}.source: {folder}: no such folder")
    faults = Faults(name)
    audio = _find_audio(name, folder, faults)
    if not labelled:
        return describe(audio, None, faults)
    transcripts = collect_transcripts(_read_transcripts(name, folder), faults)
    ages = _read_ages(folder / "SPEAKERS.TXT")
    for utterance in transcripts.keys() & audio.keys():
        speaker = _speaker_of(audio[utterance].relative_to(folder))
        told = replace(transcripts[utterance], speaker=speaker, group=age_group(ages.get(speaker)))
        transcripts[utterance] = told
    return describe(audio, transcripts, faults, synthetic)


def _find_audio(name: str, folder: Path, faults: Faults) -> dict[str, Path]:
    """Utterance id → its (first) file, sorted by id."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise VelocityError(f"corpora.{name}.source: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    return collect_audio(((path.stem, path) for path in files), faults)


def _read_transcripts(name: str, folder: Path) -> Iterator[tuple[str, Transcript]]:
    """What each line of every ``*.trans.txt`` says, still without its speaker."""
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
