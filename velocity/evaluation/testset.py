"""Utterances with reference texts, read from a manifest of cuts or from a folder in LibriSpeech layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE, load_audio
from velocity.errors import VelocityError
from velocity.project import RAW, test_manifests
from velocity.reading.names import AUDIO_SUFFIXES
from velocity.text import normalize

LIBRISPEECH = {"libri_speech_test_clean": "test-clean", "libri_speech_test_other": "test-other"}
LIBRISPEECH_ID = re.compile(r"(\d+)-\d+-\d+")  # speaker, chapter, utterance
LIBRISPEECH_ROOT = RAW / "librispeech"  # as the stage fetch unpacks it


@dataclass(frozen=True)
class Utterance:
    """A segment of an audio file and its normalised text; ``seconds`` is None for the rest of the file."""

    id: str
    path: Path
    text: str
    start: float = 0.0
    seconds: float | None = None
    group: str | None = None  # such as "child": also scored separately
    speaker: str | None = None

    def samples(self) -> np.ndarray:
        """(samples,) float32 at 16 kHz. Raises VelocityError when the file cannot be read or is too short."""
        whole = _recording(self.path)
        first = round(self.start * SAMPLE_RATE)
        end = len(whole) if self.seconds is None else first + round(self.seconds * SAMPLE_RATE)
        if first >= len(whole) or first >= end:
            raise VelocityError(f"{self.path}: no audio at {self.start} s, where {self.id} should be")
        return whole[first:end]


@lru_cache(maxsize=1)
def _recording(path: Path) -> np.ndarray:
    """Keep the last file decoded: the cuts of a long recording follow each other."""
    return load_audio(path)


def load_test_set(name: str) -> tuple[str, list[Utterance]]:
    """(its name, its utterances) of a test set: a name, a folder in LibriSpeech layout or a ``.jsonl`` of cuts.

    Names: ``<corpus>-test`` for a corpus that this project prepared, ``<corpus>-test-clean`` for an official part of
    it, ``libri_speech_test_clean`` and ``…_other``.
    Raises VelocityError when there is none, or it is empty or faulty.
    """
    source = Path(name)
    if not source.exists():
        source = _named(name)
    found = sorted(_read_folder(source) if source.is_dir() else _read_cuts(source), key=lambda utterance: utterance.id)
    if not found:
        raise VelocityError(f"{source}: contains no utterances")
    return manifest_name(source) if source.suffix == ".jsonl" else source.name, found


def manifest_name(path: Path) -> str:
    """Cuts of ``mine``: ``test-mine.jsonl`` → ``mine-test``, ``test-mine-clean.jsonl`` → ``mine-test-clean``.

    Other manifests are named by their file.
    """
    with open(path, encoding="utf-8") as file:
        found = re.search(r'"corpus": "([^"]+)"', file.readline())  # the line may not be a cut
    corpus = found[1] if found else path.stem.removeprefix("test-")
    return re.sub(rf"^test-{re.escape(corpus)}(?=-|$)", f"{corpus}-test", path.stem)


def _named(name: str) -> Path:
    if name in LIBRISPEECH:
        part = LIBRISPEECH[name]
        folder = LIBRISPEECH_ROOT / part / "LibriSpeech" / part
        if not folder.is_dir() and (prepared := _prepared().get(f"librispeech-{part}")):
            return prepared
        if not folder.is_dir():
            advice = f"unpack {part}.tar.gz in {folder.parents[1]}"
            raise VelocityError(f"{name}: LibriSpeech's {part} is not in {folder}; {advice}")
        return folder
    prepared = _prepared()
    if name in prepared:
        return prepared[name]
    known = f"{', '.join(prepared) or 'none'}; {', '.join(LIBRISPEECH)}"
    raise VelocityError(f"{name}: neither a folder, a manifest nor a test set of this project ({known})")


def _prepared() -> dict[str, Path]:
    return {manifest_name(path): path for path in test_manifests()}


def _read_folder(folder: Path) -> Iterator[Utterance]:
    """``ID TEXT`` a line in the ``*.trans.txt`` below ``folder``, each beside its audio file ``ID.<suffix>``."""
    transcripts = sorted(folder.rglob("*.trans.txt"))
    if not transcripts:
        raise VelocityError(f"{folder}: no *.trans.txt in or below it: not in LibriSpeech layout")
    for transcript in transcripts:
        for line in transcript.read_text(encoding="utf-8").splitlines():
            if not line.strip():
                continue
            name, _, text = line.strip().partition(" ")
            audio = next((path for s in AUDIO_SUFFIXES if (path := transcript.parent / f"{name}{s}").is_file()), None)
            if audio is None:
                raise VelocityError(f"{transcript}: no audio file beside it for {name}")
            speaker = LIBRISPEECH_ID.fullmatch(name)
            yield Utterance(name, audio, normalize(text), speaker=speaker[1] if speaker else None)


def _read_cuts(manifest: Path) -> Iterator[Utterance]:
    """Lhotse MonoCuts, one JSON object a line, read without Lhotse: importing it takes longer than a short test."""
    with open(manifest, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                cut = json.loads(line)
                source = cut["recording"]["sources"][0]["source"]
                spoken = cut["supervisions"]
                text = normalize(" ".join(supervision["text"] for supervision in spoken))
                first = spoken[0] if spoken else {}
                group = (first.get("custom") or {}).get("group")
                stretch = cut["start"], cut["duration"]
                utterance = Utterance(cut["id"], Path(source), text, *stretch, group, first.get("speaker"))
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                raise VelocityError(f"{manifest} line {number}: not a cut with a recording and text") from error
            yield utterance
