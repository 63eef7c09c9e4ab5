"""LJ Speech 1.1 (Ito and Johnson 2017): WAV files, and ``metadata.csv`` with 'ID|TEXT|TEXT IN WORDS' a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from velocity.config.section import SpeakerSelection, section
from velocity.corpora.kind import Kind, PretrainOnly, Repeat, unpack_all
from velocity.corpora.utterances import Transcript, describe, read_lines

if TYPE_CHECKING:
    from velocity.data.manifests import Item

VERSION = "LJSpeech-1.1"  # the name of the archive and of the folder in it
SPEAKER = "LJ"


@section
class LJSpeechCorpus:
    """One reader, so all is in one split; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = True
    kind: Literal["ljspeech"]
    source: str
    test: SpeakerSelection = 0.0
    validation: SpeakerSelection = 0.0
    repeat: Repeat = 1
    pretrain_only: PretrainOnly = False


def read(name: str, corpus: LJSpeechCorpus, raw: Path) -> Iterator[Item]:
    """Recordings and supervisions with the text in words, by one speaker. Raises VelocityError without metadata."""
    folder = raw / VERSION / VERSION
    audio = ((path.stem, path) for path in folder.glob("wavs/*.wav"))
    yield from describe(name, audio, _read_metadata(folder / "metadata.csv"))


def _read_metadata(path: Path) -> Iterator[tuple[str, Transcript]]:
    for number, line in enumerate(read_lines(path), 1):
        utterance, *texts = line.split("|")
        if line.strip():
            spoken = texts[1].strip() if len(texts) == 2 else ""
            yield utterance, Transcript(spoken, f"{path} line {number}", SPEAKER)


KIND = Kind(LJSpeechCorpus, unpack_all, read)
