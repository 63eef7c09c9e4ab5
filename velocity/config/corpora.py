"""The section ``corpora``: one dataclass a kind of corpus."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from velocity.config.section import section

# How speakers are kept out of training: a share of them (drawn by a hash of the speaker's name, so that it stays the
# same when speakers are added), a regular expression searched for in the name, or a list of the corpus' official parts.
SpeakerSelection = float | str | tuple[str, ...]


Repeat = Annotated[int, Field(ge=1)]  # times an epoch that a training utterance is heard, distorted anew each time


@section
class SyntheticCorpus:
    """Speech made on this machine. Synthetic: no claim about speech of people."""

    labelled: ClassVar[bool] = True
    kind: Literal["synthetic"]
    source: str  # a YAML file (vocabulary, sentence patterns, voices), or a text whose lines are read aloud
    engine: Literal["espeak-ng", "hibari"] = "espeak-ng"  # many robotic voices | one natural voice, turned into many
    utterances: int = 2000
    voices: int = 60
    words: tuple[int, int] = (2, 12)  # of a text's line an utterance takes, from anywhere in it
    test: SpeakerSelection = 0.2
    validation: SpeakerSelection = 0.1
    repeat: Repeat = 1


@section
class FolderCorpus:
    """A folder of speech in LibriSpeech layout: audio files beside ``*.trans.txt`` ('ID TEXT' a line)."""

    kind: Literal["folder"]
    source: str  # the folder
    labelled: bool = True  # False: audio alone, used by pretraining only
    test: SpeakerSelection = 0.1
    validation: SpeakerSelection = 0.05
    repeat: Repeat = 1


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


@section
class LibriSpeechCorpus(PartedCorpus):
    """LibriSpeech or Mini LibriSpeech (Panayotov et al. 2015), by its parts; ``source`` is the table of archives."""

    kind: Literal["librispeech"]
    repeat: Repeat = 1


@section
class SpeechOcean762Corpus(PartedCorpus):
    """speechocean762 (Zhang et al. 2021): its parts are train and test; ``source`` is the table of archives."""

    kind: Literal["speechocean762"]
    repeat: Repeat = 1


@section
class CommonVoiceCorpus(PartedCorpus):
    """A release of Common Voice in English (Ardila et al. 2020); ``source`` is its archive, parts are its TSV files."""

    kind: Literal["common-voice"]
    repeat: Repeat = 1


@section
class LibriLightCorpus:
    """Libri-Light (Kahn et al. 2020): untranscribed, for pretraining only; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = False
    kind: Literal["librilight"]
    source: str
    parts: tuple[Literal["small", "medium", "large"], ...] = ("small",)


@section
class LJSpeechCorpus:
    """LJ Speech (Ito and Johnson 2017): one reader, so all is in one split; ``source`` is the table of archives."""

    labelled: ClassVar[bool] = True
    kind: Literal["ljspeech"]
    source: str
    test: SpeakerSelection = 0.0
    validation: SpeakerSelection = 0.0
    repeat: Repeat = 1


AnyCorpus = (
    SyntheticCorpus
    | FolderCorpus
    | LibriSpeechCorpus
    | SpeechOcean762Corpus
    | CommonVoiceCorpus
    | LibriLightCorpus
    | LJSpeechCorpus
)
Corpus = Annotated[AnyCorpus, Field(discriminator="kind")]
