"""LibriSpeech and Mini LibriSpeech (Panayotov et al. 2015): each part is a folder in the layout that is named after it.

Speakers are called ``librivox:<number>``: Libri-Light's are the same people.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from velocity.config.section import section
from velocity.corpora.kind import Kind, PartedCorpus, PretrainOnly, Repeat, unpack_parts
from velocity.corpora.kinds.folder import read_folder
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.data.manifests import Item


@section
class LibriSpeechCorpus(PartedCorpus):
    """``source`` is the table of archives."""

    kind: Literal["librispeech"]
    repeat: Repeat = 1
    pretrain_only: PretrainOnly = False


def read(name: str, corpus: LibriSpeechCorpus, raw: Path) -> Iterator[Item]:
    """As ``read_folder``, of ``<raw>/<part>/LibriSpeech/<part>``.

    Raises VelocityError also for two parts with the same utterance: Mini LibriSpeech is a selection of LibriSpeech.
    """
    previous = ("", "")  # id and part of the last utterance
    for item in heapq.merge(*(_read_part(name, raw, part) for part in corpus.parts), key=lambda item: item.id):
        if hasattr(item, "recording_id"):
            part = item.custom["part"]
            if item.id == previous[0]:
                raise VelocityError(f"corpora.{name}: {item.id} is in both {previous[1]} and {part}; list only one")
            previous = item.id, part
        yield item


def _read_part(name: str, raw: Path, part: str) -> Iterator[Item]:
    for item in read_folder(name, raw / part / "LibriSpeech" / part):
        if hasattr(item, "recording_id"):
            item.speaker = f"librivox:{item.speaker}"
            item.custom["part"] = part
        yield item


KIND = Kind(LibriSpeechCorpus, unpack_parts, read)
