"""speechocean762 (Zhang et al. 2021): Mandarin speakers, children and adults, reading English.

The two official parts are folders of Kaldi's tables: ``wav.scp``, ``text``, ``utt2spk`` and ``spk2age``, each with
'KEY VALUE' a line. The text is the prompt; misreadings are common.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from velocity.config.section import section
from velocity.corpora.kind import Kind, PartedCorpus, PretrainOnly, Repeat, unpack_all
from velocity.corpora.utterances import Transcript, age_group, describe, read_lines
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.data.manifests import Item

NAME = "speechocean762"  # of the archive and of the folder in it


@section
class SpeechOcean762Corpus(PartedCorpus):
    """Its parts are train and test; ``source`` is the table of archives."""

    kind: Literal["speechocean762"]
    repeat: Repeat = 1
    pretrain_only: PretrainOnly = False


def read(name: str, corpus: SpeechOcean762Corpus, raw: Path) -> Iterator[Item]:
    """Recordings and supervisions of the parts that are listed, with the group of the speaker's age.

    Raises VelocityError for a missing table and for a path in ``wav.scp`` that leaves the corpus.
    """
    folder = raw / NAME / NAME
    audio = (found for part in corpus.parts for found in _read_paths(folder, part))
    transcripts = (found for part in corpus.parts for found in _read_transcripts(folder / part, part))
    yield from describe(name, audio, transcripts)


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


KIND = Kind(SpeechOcean762Corpus, unpack_all, read)
