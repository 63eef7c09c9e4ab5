"""speechocean762 (Zhang et al. 2021): Mandarin speakers, children and adults, reading English.

The two official parts are folders of Kaldi's tables: ``wav.scp``, ``text``, ``utt2spk`` and ``spk2age``, each with
'KEY VALUE' a line. The text is the prompt; misreadings are common.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

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
    from velocity.config.corpora import SpeechOcean762Corpus
    from velocity.corpora.utterances import Manifests

NAME = "speechocean762"  # of the archive and of the folder in it


def read_speechocean762(name: str, corpus: SpeechOcean762Corpus, raw: Path) -> Manifests:
    """Recordings and supervisions of the parts that are listed, with the group of the speaker's age.

    Raises VelocityError for a missing table and for a path in ``wav.scp`` that leaves the corpus.
    """
    folder = raw / NAME / NAME
    faults = Faults(name)
    files: list[tuple[str, Path]] = []
    lines: list[tuple[str, Transcript]] = []
    for part in corpus.parts:
        files += _read_paths(folder, part)
        lines += _read_transcripts(folder / part, part)
    return describe(collect_audio(files, faults), collect_transcripts(lines, faults), faults)


def _read_paths(folder: Path, part: str) -> Iterator[tuple[str, Path]]:
    for utterance, value, where in _read_table(folder / part / "wav.scp"):
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts:
            raise VelocityError(f"{where}: {value} is not below {folder}")
        if (folder / path).is_file():
            yield utterance, folder / path


def _read_transcripts(folder: Path, part: str) -> Iterator[tuple[str, Transcript]]:
    speakers = {utterance: speaker for utterance, speaker, _ in _read_table(folder / "utt2spk")}
    ages: dict[str | None, float] = {}
    for speaker, age, _ in _read_table(folder / "spk2age"):
        with suppress(ValueError):
            ages[speaker] = float(age)
    for utterance, text, where in _read_table(folder / "text"):
        speaker = speakers.get(utterance)
        yield utterance, Transcript(text, where, speaker, age_group(ages.get(speaker)), part)


def _read_table(path: Path) -> Iterator[tuple[str, str, str]]:
    """(key, value, file and line) of each line that is not empty."""
    for number, line in enumerate(read_lines(path), 1):
        if fields := line.split(maxsplit=1):
            yield fields[0], fields[1].strip() if len(fields) == 2 else "", f"{path} line {number}"
