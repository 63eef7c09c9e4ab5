"""Libri-Light (Kahn et al. 2020): hours of untranscribed FLAC as ``<part>/<speaker>/<book>/<file>.flac``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from velocity.config.section import section
from velocity.corpora.kind import Kind, unpack_parts
from velocity.corpora.utterances import Transcript, describe
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.data.manifests import Item


@section
class LibriLightCorpus:
    """For pretraining only; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = False
    kind: Literal["librilight"]
    source: str
    parts: tuple[Literal["small", "medium", "large"], ...] = ("small",)


def read(name: str, corpus: LibriLightCorpus, raw: Path) -> Iterator[Item]:
    """Recordings, and one supervision each without text: the speaker, called ``librivox:<number>`` as in LibriSpeech.

    The id is the path below the part's archive, without its ending: names of files alone repeat between speakers.
    Raises VelocityError for a part without audio.
    """
    audio = (found for part in corpus.parts for found in _files(name, raw / part, part))
    transcripts = (
        (utterance, Transcript(None, str(path), f"librivox:{utterance.split('/')[1]}", part=part))
        for part in corpus.parts
        for utterance, path in _files(name, raw / part, part)
    )
    yield from describe(name, audio, transcripts)


def _files(name: str, folder: Path, part: str) -> Iterator[tuple[str, Path]]:
    found = False
    for path in folder.glob("*/*/*/*.flac"):
        found = True
        yield path.relative_to(folder).with_suffix("").as_posix(), path
    if not found:
        raise VelocityError(f"corpora.{name}: {folder}: no {part}/<speaker>/<book>/<file>.flac in the archive")


KIND = Kind(LibriLightCorpus, unpack_parts, read)
