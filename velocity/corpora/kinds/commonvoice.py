"""A release of Common Voice in English (Ardila et al. 2020): MP3 clips, and a TSV file for each official part."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity.config.section import section
from velocity.corpora.kind import Kind, PartedCorpus, PretrainOnly, Repeat
from velocity.corpora.unpack import unpack
from velocity.corpora.utterances import Transcript, describe, read_lines
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.data.manifests import Item

COLUMNS = {"client_id", "path", "sentence"}
ADULTS = {"twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties", "nineties"}


@section
class CommonVoiceCorpus(PartedCorpus):
    """``source`` is the release's archive, parts are its TSV files."""

    kind: Literal["common-voice"]
    repeat: Repeat = 1
    pretrain_only: PretrainOnly = False


def bring(corpus: Any, _seed: int, folder: Path) -> None:
    unpack(corpus.source, folder)


def read(name: str, corpus: CommonVoiceCorpus, raw: Path) -> Iterator[Item]:
    """Recordings and supervisions of the parts that are listed; the speaker is the ``client_id``.

    Clips that only other parts name are none of these. Raises VelocityError for a missing TSV file or column, and for
    a release in another language.
    """
    folder = _release(name, raw)
    clips = (
        (utterance, clip)
        for part in corpus.parts
        for utterance, _ in _read_part(folder / f"{part}.tsv", part)
        if (clip := folder / "clips" / f"{utterance}.mp3").is_file()
    )
    transcripts = (line for part in corpus.parts for line in _read_part(folder / f"{part}.tsv", part))
    yield from describe(name, clips, transcripts)


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
        whole = None not in row  # else it has more cells than columns: a tab cuts the sentence, or moves it
        sentence = (row["sentence"] or "").strip() if whole else ""
        yield utterance, Transcript(sentence, where, row["client_id"], group, part)


KIND = Kind(CommonVoiceCorpus, bring, read)
