"""What each kind of corpus in ``params.yaml`` needs to become manifests: its speech on the disk, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.corpora.archives import Archive, load_archives
from velocity.corpora.commonvoice import read_commonvoice
from velocity.corpora.download import download
from velocity.corpora.folder import read_folder
from velocity.corpora.librilight import read_librilight
from velocity.corpora.librispeech import read_librispeech
from velocity.corpora.ljspeech import read_ljspeech
from velocity.corpora.speechocean762 import read_speechocean762
from velocity.corpora.synthetic import synthesise_corpus
from velocity.corpora.unpack import unpack

if TYPE_CHECKING:
    from velocity.corpora.utterances import Manifests

DOWNLOADS = Path("data/downloads")  # archives stay here, one folder a kind of corpus


@dataclass(frozen=True)
class Kind:
    """``bring(corpus, seed, folder)`` fills an empty folder; ``read(name, corpus, folder)`` describes what is there."""

    bring: Callable[[Any, int, Path], None]
    read: Callable[[str, Any, Path], Manifests]


def _unpack_parts(corpus: Any, _seed: int, folder: Path) -> None:
    _unpack_archives(load_archives(corpus.source, corpus.kind, corpus.parts), corpus, folder)


def _unpack_all(corpus: Any, _seed: int, folder: Path) -> None:
    _unpack_archives(load_archives(corpus.source, corpus.kind), corpus, folder)


def _unpack_archives(archives: dict[str, Archive], corpus: Any, folder: Path) -> None:
    """Each in a folder named after it; all are downloaded before the first is opened."""
    files = {name: download(archive, DOWNLOADS / corpus.kind) for name, archive in archives.items()}
    for name, file in files.items():
        (folder / name).mkdir()
        unpack(file, folder / name)


def _unpack_source(corpus: Any, _seed: int, folder: Path) -> None:
    unpack(corpus.source, folder)


def _note_source(corpus: Any, _seed: int, folder: Path) -> None:
    (folder / "SOURCE").write_text(f"{corpus.source}\n", encoding="utf-8")


KINDS = {
    "synthetic": Kind(synthesise_corpus, lambda name, corpus, raw: read_folder(name, raw, synthetic=True)),
    "folder": Kind(_note_source, lambda name, corpus, raw: read_folder(name, corpus.source, corpus.labelled)),
    "librispeech": Kind(_unpack_parts, read_librispeech),
    "librilight": Kind(_unpack_parts, read_librilight),
    "ljspeech": Kind(_unpack_all, read_ljspeech),
    "speechocean762": Kind(_unpack_all, read_speechocean762),
    "common-voice": Kind(_unpack_source, read_commonvoice),
}
