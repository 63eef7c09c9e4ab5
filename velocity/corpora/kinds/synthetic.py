"""Speech made on this machine. Synthetic: no claim about speech of people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from velocity.config.section import Count, SpeakerSelection, section
from velocity.corpora.kind import Kind, PretrainOnly, Repeat
from velocity.corpora.kinds.folder import read_folder
from velocity.corpora.synthetic import synthesise_corpus

if TYPE_CHECKING:
    from velocity.data.manifests import Item


@section
class SyntheticCorpus:
    labelled: ClassVar[bool] = True
    kind: Literal["synthetic"]
    source: str  # a YAML file (vocabulary, sentence patterns, voices), or a text whose lines are read aloud
    utterances: Count
    voices: Count
    engine: Literal["espeak-ng", "hibari"] = "espeak-ng"  # many robotic voices | one natural voice, turned into many
    words: tuple[Count, Count] = (2, 12)  # of a text's line an utterance takes, from anywhere in it
    test: SpeakerSelection = 0.2
    validation: SpeakerSelection = 0.1
    repeat: Repeat = 1
    pretrain_only: PretrainOnly = False

    def __post_init__(self) -> None:
        if self.words[0] > self.words[1]:
            raise ValueError(f"words must be [fewest, most], not {list(self.words)}")


def read(name: str, _corpus: SyntheticCorpus, raw: Path) -> Iterator[Item]:
    return read_folder(name, raw, synthetic=True)


KIND = Kind(SyntheticCorpus, synthesise_corpus, read)
