"""LibriSpeech's layout (Panayotov et al. 2015), without a library: what ``fetch`` and ``evaluate`` both read.

Audio files of any format that is read, anywhere below the folder; with them ``*.trans.txt``, a line 'ID TEXT' an
utterance, ID being the audio file's name without its ending. The speaker is what stands before the first '-' of the ID,
or else the folder two levels up. ``SPEAKERS.TXT`` is optional: '|' between columns, the last ';' line names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from velocity.corpora.utterances import Transcript, age_group, read_lines
from velocity.errors import VelocityError
from velocity.files import walk
from velocity.reading.names import AUDIO_SUFFIXES, is_audio, is_leftover


def find_audio(folder: Path, key: str = "") -> Iterator[tuple[str, Path]]:
    """(utterance id, file) of every audio file below ``folder``.

    Raises VelocityError when there is none; ``key`` is what its message begins with.
    """
    found = False
    for path in walk(folder):
        if is_audio(path):
            found = True
            yield path.stem, path
    if not found:
        raise VelocityError(f"{key}{folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")


def find_transcripts(folder: Path) -> list[Path]:
    """Every ``*.trans.txt`` below ``folder``, sorted."""
    return sorted(path for path in walk(folder) if path.name.endswith(".trans.txt") and not is_leftover(path))


def read_transcripts(path: Path) -> Iterator[tuple[str, Transcript]]:
    """(utterance id, transcript) of each line, still without its speaker. Raises VelocityError if it is not UTF-8."""
    for number, line in enumerate(read_lines(path), 1):
        utterance, _, text = line.replace("\t", " ").strip().partition(" ")
        if utterance:
            yield utterance, Transcript(text.strip(), f"{path} line {number}", speaker=None)


def speakers_of(folder: Path) -> Callable[[Transcript, Path], Transcript]:
    """What adds speaker and group to a transcript, by the path of its audio file below ``folder``."""
    ages = _read_ages(folder / "SPEAKERS.TXT")

    def complete(transcript: Transcript, path: Path) -> Transcript:
        speaker = speaker_of(path.relative_to(folder))
        return replace(transcript, speaker=speaker, group=age_group(ages.get(speaker)))

    return complete


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


def speaker_of(path: Path) -> str | None:
    """Who speaks in an audio file, by its path below the folder; None: the path does not tell."""
    speaker, dash, _ = path.stem.partition("-")
    if dash and speaker:
        return speaker
    return path.parts[-3] if len(path.parts) >= 3 else None
