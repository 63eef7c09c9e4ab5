"""A release of Common Voice in English (Ardila et al. 2020): MP3 clips, and a TSV file for each official part."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.corpora.utterances import Faults, Transcript, collect_transcripts, describe, read_lines
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.config.corpora import CommonVoiceCorpus
    from velocity.corpora.utterances import Manifests

COLUMNS = {"client_id", "path", "sentence"}
ADULTS = {"twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties", "nineties"}


def read_commonvoice(name: str, corpus: CommonVoiceCorpus, raw: Path) -> Manifests:
    """Recordings and supervisions of the parts that are listed; the speaker is the ``client_id``.

    Clips that only other parts name are none of these. Raises VelocityError for a missing TSV file or column, and for
    a release in another language.
    """
    folder = _release(name, raw)
    faults = Faults(name)
    lines = [line for part in corpus.parts for line in _read_part(folder / f"{part}.tsv", part)]
    transcripts = collect_transcripts(lines, faults)
    clips = {utterance: folder / "clips" / f"{utterance}.mp3" for utterance in sorted(transcripts)}
    audio = {utterance: clip for utterance, clip in clips.items() if clip.is_file()}
    return describe(audio, transcripts, faults)


def _release(name: str, raw: Path) -> Path:
    found = sorted(path.parent for path in raw.glob("*/*/clips"))
    if [path.name for path in found] != ["en"]:
        there = ", ".join(path.name for path in found) or "no <release>/<language>/clips"
        raise VelocityError(f"corpora.{name}.source: not a release of Common Voice in English: it holds {there}")
    return found[0]


def _read_part(path: Path, part: str) -> Iterator[tuple[str, Transcript]]:
    rows = csv.DictReader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    if lacking := sorted(COLUMNS - set(rows.fieldnames or ())):
        raise VelocityError(f"{path}: has no column {lacking[0]!r}")
    for row in rows:
        utterance = Path(row["path"] or f"{part}-line-{rows.line_num}").stem
        group = "adult" if row.get("age") in ADULTS else None  # "teens" are both
        where = f"{path} line {rows.line_num}"
        yield utterance, Transcript((row["sentence"] or "").strip(), where, row["client_id"], group, part)
