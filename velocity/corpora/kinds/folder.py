"""A folder of speech in LibriSpeech's layout (``velocity.corpora.layout``) → Lhotse manifests."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity.config.section import SpeakerSelection, section
from velocity.corpora.kind import Kind, PretrainOnly, Repeat
from velocity.corpora.layout import find_audio, find_transcripts, read_transcripts, speakers_of
from velocity.corpora.utterances import describe
from velocity.errors import VelocityError
from velocity.files import has_linked_folders

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
    pretrain_only: PretrainOnly = False
    utterances: str = ""  # a regular expression searched for in their ids: those it is not found in are left out

    def __post_init__(self) -> None:
        try:
            re.compile(self.utterances)
        except re.error as error:
            raise ValueError(f"utterances: {self.utterances!r} is not a valid regular expression ({error})") from error


def bring(corpus: Any, _seed: int, folder: Path) -> None:
    (folder / "SOURCE").write_text(f"{corpus.source}\n", encoding="utf-8")


def read(name: str, corpus: FolderCorpus, _raw: Path) -> Iterator[Item]:
    if has_linked_folders(corpus.source):
        seen = f"{corpus.source}: DVC does not see changes behind links to folders"
        print(f"note: {seen}; after one: dvc repro --force --single-item fetch@{name}", file=sys.stderr)
    chosen = re.compile(corpus.utterances)
    for item in read_folder(name, corpus.source, corpus.labelled):
        if chosen.search(item.id):
            yield item


def read_folder(name: str, folder: str | Path, labelled: bool = True, synthetic: bool = False) -> Iterator[Item]:
    """What ``describe`` gives, by id; paths begin as ``folder`` does. Without labels there are no supervisions.

    Raises VelocityError for a missing folder, no audio or no transcript in it, and a transcript that is not UTF-8.
    """
    folder, key = Path(folder), f"corpora.{name}.source: "
    if not folder.is_dir():
        raise VelocityError(f"{key}{folder}: no such folder")
    audio = find_audio(folder, key)
    if not labelled:
        yield from describe(name, audio, None)
        return
    if not (paths := find_transcripts(folder)):
        advice = f"set corpora.{name}.labelled to false if it has none"
        raise VelocityError(f"{key}{folder}: no *.trans.txt below it; {advice}")
    transcripts = chain.from_iterable(map(read_transcripts, paths))
    yield from describe(name, audio, transcripts, speakers_of(folder), synthetic)


KIND = Kind(FolderCorpus, bring, read)
