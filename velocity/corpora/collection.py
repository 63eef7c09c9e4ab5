"""A person's own speech, in any of three forms: utterances in the order in which they were recorded.

LibriSpeech's layout (``velocity.corpora.layout``); audio files with a ``.txt`` of the same name beside each; or a
table, ``.csv`` or ``.tsv``, with the columns ``path`` (from the table's folder) and ``text``, perhaps also ``speaker``.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from velocity.corpora.layout import find_audio, find_transcripts, read_transcripts, speakers_of
from velocity.corpora.utterances import Transcript, fault_of, match
from velocity.errors import VelocityError, printable
from velocity.files import read_text, walk
from velocity.reading.names import is_audio, is_leftover
from velocity.reading.recording import read_header

TABLES = {".csv": ",", ".tsv": "\t"}  # ending → what is between columns
Audio = Iterable[tuple[str, Path]]  # key of an utterance, its file
Transcripts = Iterable[tuple[str, Transcript]]


@dataclass(frozen=True)
class Spoken:
    path: Path
    text: str  # as it was written
    speaker: str  # letters and digits
    seconds: float


def read_collection(source: Path) -> list[Spoken]:
    """The utterances in a folder or of a table, by speaker and name; numbers in names count as numbers.

    Audio without text is left out, with a warning. Raises VelocityError, naming the place, for a folder that is
    missing or has no audio or no text, for text without audio or twice, and for audio that cannot be read.
    """
    audio, transcripts = _forms(source)
    found, silent = [], []
    for key, paths, texts in match(audio, transcripts, f"read {source.name}"):
        fault = fault_of(paths, texts)
        if fault and not texts:
            silent += paths
        elif fault:
            kind, places = fault
            raise VelocityError(f"{printable(next(iter(places)))}: {printable(key)}: {kind.replace('-', ' ')}")
        else:
            found.append(_spoken(paths[0], texts[0]))
    if not found:
        forms = "*.trans.txt, a .txt beside each recording, or a table with the columns path and text"
        raise VelocityError(f"{source}: no transcripts found; expected {forms}")
    if silent:
        such = f"such as {printable(silent[0])}"
        print(f"warning: {len(silent)} audio files have no transcript and are left out, {such}", file=sys.stderr)
    return sorted(found, key=lambda spoken: (spoken.speaker, in_order(str(spoken.path))))


def in_order(name: str) -> list[tuple[bool, int, str]]:
    """A key by which ``note 9`` comes before ``note 10``."""
    parts = re.split(r"([0-9]+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _forms(source: Path) -> tuple[Audio, Transcripts]:
    if source.is_file() and source.suffix.lower() in TABLES:
        return _table(source)
    if not source.is_dir():
        raise VelocityError(f"{source}: no such folder, and no table (.csv, .tsv)")
    if listings := find_transcripts(source):
        complete = speakers_of(source)
        by_name = dict(find_audio(source))

        def lines() -> Iterator[tuple[str, Transcript]]:
            for listing in listings:
                for key, transcript in read_transcripts(listing):
                    yield key, complete(transcript, by_name[key]) if key in by_name else transcript

        return find_audio(source), lines()
    tables = [path for path in sorted(source.iterdir()) if path.suffix.lower() in TABLES and not is_leftover(path)]
    if len(tables) > 1:
        raise VelocityError(f"{source}: has several tables ({', '.join(table.name for table in tables)}); name one")
    return _table(tables[0]) if tables else _pairs(source)


def _pairs(folder: Path) -> tuple[Audio, Transcripts]:
    files = [path for _, path in find_audio(folder)]
    texts = [path for path in walk(folder) if path.suffix.lower() == ".txt" and not is_leftover(path)]
    audio = {path.with_suffix("") for path in files}

    def speaker(path: Path) -> str | None:  # the folder that the recordings lie in, if there are several
        below = path.relative_to(folder).parts
        return below[0] if len(below) > 1 else None

    transcripts = (
        (str(path.with_suffix("")), Transcript(" ".join(read_text(path).split()), str(path), speaker(path)))
        for path in texts
        if path.with_suffix("") in audio  # other texts may lie in the folder, as a README does
    )
    return ((str(path.with_suffix("")), path) for path in files), transcripts


def _table(path: Path) -> tuple[Audio, Transcripts]:
    text = io.StringIO(read_text(path), newline="")
    try:
        rows = list(csv.DictReader(text, delimiter=TABLES[path.suffix.lower()]))
    except csv.Error as error:
        raise VelocityError(f"{path}: not a table ({error}); is a quotation mark missing?") from error
    if not rows or not {"path", "text"} <= rows[0].keys():
        raise VelocityError(f"{path}: its first line must name the columns path and text, and others must follow")
    named = [(row["path"] or "", (row["text"] or "").strip(), row.get("speaker")) for row in rows]
    files = {name: path.parent / name for name, _, _ in named}
    audio = (
        (name, file) for name, file in files.items() if os.path.isfile(file) and is_audio(file)
    )  # Path.is_file raises for a long name
    transcripts = (
        (name, Transcript(text, f"{path} row {number}", speaker or None))
        for number, (name, text, speaker) in enumerate(named, 1)
    )
    return audio, transcripts


def _spoken(path: Path, transcript: Transcript) -> Spoken:
    header = read_header(path)
    speaker = re.sub(r"[\W_]+", "", transcript.speaker or "") or "speaker"
    return Spoken(path, transcript.text, speaker, header.frames / header.rate)
