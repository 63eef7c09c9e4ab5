"""What a kind of corpus is, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from velocity.config.section import Count, SpeakerSelection, section
from velocity.corpora.archives import Archive, load_archives
from velocity.corpora.download import download
from velocity.corpora.unpack import unpack
from velocity.project import DOWNLOADS

if TYPE_CHECKING:
    from velocity.data.manifests import Item

Repeat = Count  # times an epoch that a training utterance is used, distorted anew each time
PretrainOnly = bool  # its training utterances are used by pretraining alone, not by fine-tuning


@dataclass(frozen=True)
class Kind:
    """``bring(corpus, seed, folder)`` fills an empty folder; ``read(name, corpus, folder)`` describes what is there."""

    section: type[Any]  # its field ``kind`` is the name
    bring: Callable[[Any, int, Path], None]
    read: Callable[[str, Any, Path], Iterator[Item]]


@section
class PartedCorpus:
    """A corpus that is published in parts; those that are listed are fetched."""

    labelled: ClassVar[bool] = True
    source: str
    train: tuple[str, ...]  # parts, such as train-clean-100
    validation: SpeakerSelection
    test: SpeakerSelection

    @property
    def parts(self) -> tuple[str, ...]:
        lists = (self.train, self.validation, self.test)
        return tuple(part for listed in lists if isinstance(listed, tuple) for part in listed)

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train: list at least one part")
        if repeated := sorted({part for part in self.parts if self.parts.count(part) > 1}):
            raise ValueError(f"{repeated[0]!r} is listed twice among train, validation and test")


def unpack_parts(corpus: Any, _seed: int, folder: Path) -> None:
    """The archives of the parts that are listed."""
    _unpack(load_archives(corpus.source, corpus.kind, corpus.parts), corpus, folder)


def unpack_all(corpus: Any, _seed: int, folder: Path) -> None:
    """All archives of the corpus."""
    _unpack(load_archives(corpus.source, corpus.kind), corpus, folder)


def _unpack(archives: dict[str, Archive], corpus: Any, folder: Path) -> None:
    """Each in a folder named after it; all are downloaded before the first is opened."""
    files = {name: download(archive, DOWNLOADS / corpus.kind) for name, archive in archives.items()}
    for name, file in files.items():
        (folder / name).mkdir()
        unpack(file, folder / name)
