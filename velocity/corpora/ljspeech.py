"""LJ Speech 1.1 (Ito and Johnson 2017): WAV files, and ``metadata.csv`` with 'ID|TEXT|TEXT IN WORDS' a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.corpora.utterances import Faults, Transcript, collect_audio, collect_transcripts, describe, read_lines

if TYPE_CHECKING:
    from velocity.config.corpora import LJSpeechCorpus
    from velocity.corpora.utterances import Manifests

VERSION = "LJSpeech-1.1"  # the name of the archive and of the folder in it
SPEAKER = "LJ"


def read_ljspeech(name: str, corpus: LJSpeechCorpus, raw: Path) -> Manifests:
    """Recordings and supervisions with the text in words, by one speaker. Raises VelocityError without metadata."""
    folder = raw / VERSION / VERSION
    faults = Faults(name)
    audio = collect_audio(((path.stem, path) for path in sorted(folder.glob("wavs/*.wav"))), faults)
    transcripts = collect_transcripts(_read_metadata(folder / "metadata.csv"), faults)
    return describe(audio, transcripts, faults)


def _read_metadata(path: Path) -> Iterator[tuple[str, Transcript]]:
    for number, line in enumerate(read_lines(path), 1):
        utterance, *texts = line.split("|")
        if line.strip():
            spoken = texts[1].strip() if len(texts) == 2 else None
            yield utterance, Transcript(spoken, f"{path} line {number}", SPEAKER)
