"""Libri-Light (Kahn et al. 2020): hours of untranscribed FLAC as ``<part>/<speaker>/<book>/<file>.flac``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from velocity.corpora.utterances import Faults, Transcript, describe
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.config.corpora import LibriLightCorpus
    from velocity.corpora.utterances import Manifests


def read_librilight(name: str, corpus: LibriLightCorpus, raw: Path) -> Manifests:
    """Recordings, and one supervision each without text: the speaker, called ``librivox:<number>`` as in LibriSpeech.

    The id is the path below the part's archive, without its ending: names of files alone repeat between speakers.
    Raises VelocityError for a part without audio.
    """
    audio: dict[str, Path] = {}
    transcripts: dict[str, Transcript] = {}
    for part in corpus.parts:
        folder = raw / part
        found = sorted(folder.glob("*/*/*/*.flac"))
        files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}
        if not files:
            raise VelocityError(f"corpora.{name}: {folder}: no {part}/<speaker>/<book>/<file>.flac in the archive")
        audio |= files
        for utterance, path in files.items():
            speaker = f"librivox:{path.relative_to(folder).parts[1]}"
            transcripts[utterance] = Transcript(None, str(path), speaker, part=part)
    return describe(audio, transcripts, Faults(name))
