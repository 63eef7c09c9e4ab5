"""The measurements of whole corpora as three tables, whose columns are plain arrays.

``audio`` has a row a recording, ``utterances`` a row a transcript, ``faults`` a row for what could not be fetched.
Ids are Arrow strings, figures numbers of a few bytes: millions of utterances stay below a gigabyte.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.audio import SAMPLE_RATE, frame_count
from velocity.data.inspection import AUDIO_WORK, PART, TEXT_WORK, measure_recordings, measure_transcripts
from velocity.data.manifests import FAULTS, RECORDINGS, SUPERVISIONS, count_lines, open_lines, read_lines
from velocity.data.parts import map_parts
from velocity.progress import track

if TYPE_CHECKING:
    import pandas

# Column → type code of ``array``; the id comes before them.
AUDIO = {
    "rate": "i",
    "channels": "i",
    "seconds": "d",
    "missing_seconds": "d",  # of what the header promises
    "level_db": "f",  # RMS relative to full scale, all channels
    "clipped": "f",  # share of the samples
    "dc_offset": "f",
    "not_numbers": "i",  # samples that are NaN or Inf
    "content": "q",  # hash of the samples
    "repeated_id": "b",  # 1: the recording before it has its id
}
UTTERANCES = {
    "recording": "i",  # its row of ``audio``, -1 for none
    "seconds": "d",
    "outside_seconds": "f",  # of its recording
    "characters": "i",  # normalised
    "characters_per_second": "f",  # NaN without text
    "foreign_letters": "i",
    "feature_frames": "i",
    "character_labels": "i",  # labels, and the blanks that CTC needs between equal ones
    "word_labels": "i",  # no BPE makes fewer
    "sentence": "q",  # hash of the normalised text
    "voice": "i",  # place in ``voices``
}


@dataclass(frozen=True)
class Measurements:
    """The tables, in the order of the manifests; who speaks, and the words of each corpus."""

    audio: pandas.DataFrame
    utterances: pandas.DataFrame
    faults: pandas.DataFrame
    voices: list[tuple[str, str, str]]  # corpus, speaker, the official part of the corpus, "" for none
    words: dict[str, Counter[str]]
    rows: dict[str, dict[str, slice]]  # corpus → table → its rows of ``audio`` and ``utterances``

    @property
    def tables(self) -> dict[str, pandas.DataFrame]:
        return {"faults": self.faults, "audio": self.audio, "utterances": self.utterances}


def measure_corpora(folders: Mapping[str, Path], threads: int) -> Measurements:
    """Measure the manifests of each corpus (name → folder). Raises VelocityError when one is missing."""
    import pandas

    audio, utterances = Columns(AUDIO), Columns(UTTERANCES)
    faults: list[dict[str, Any]] = []
    voices: dict[tuple[str, str, str], int] = {}
    words: dict[str, Counter[str]] = {}
    places: dict[str, dict[str, slice]] = {}
    for name, folder in folders.items():
        first, first_text, last = len(audio), len(utterances), None
        for row in _audio_rows(name, folder, threads):
            audio.append(row["id"], {**row, "repeated_id": row["id"] == last})
            last = row["id"]
        words[name] = Counter()
        for row, place in _beside(_text_rows(folder), audio.ids(first), first):
            words[name].update(row["text"].split())
            voice = voices.setdefault((name, row["speaker"], row["part"]), len(voices))
            length = audio.columns["seconds"][place] + audio.columns["missing_seconds"][place] if place >= 0 else 0.0
            utterances.append(row["id"], {**_utterance(row, length), "recording": place, "voice": voice})
        places[name] = {"audio": slice(first, len(audio)), "utterances": slice(first_text, len(utterances))}
        faults += read_lines(folder / FAULTS)
    table = pandas.DataFrame(faults, columns=["corpus", "id", "kind", "where"])
    return Measurements(audio.table(), utterances.table(), table, list(voices), words, places)


def _audio_rows(name: str, folder: Path, threads: int) -> Iterator[dict[str, Any]]:
    total = count_lines(folder / RECORDINGS)
    rows = map_parts(AUDIO_WORK, open_lines(folder / RECORDINGS), partial(measure_recordings, threads=threads), PART)
    return track(rows, f"decode {name}", total)


def _text_rows(folder: Path) -> Iterator[dict[str, Any]]:
    return map_parts(TEXT_WORK, open_lines(folder / SUPERVISIONS), measure_transcripts, PART)


def _beside(
    rows: Iterator[dict[str, Any]], recordings: Iterator[str], place: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """Each transcript with the row of its recording, or -1; both are sorted by the recording's id."""
    recording = next(recordings, None)
    for row in rows:
        while recording is not None and recording < row["recording"]:
            recording, place = next(recordings, None), place + 1
        yield row, place if recording == row["recording"] else -1


def _utterance(row: Mapping[str, Any], recording_seconds: float) -> dict[str, Any]:
    seconds, characters = row["seconds"], len(row["text"])
    return {
        **row,
        "outside_seconds": max(0.0, -row["start"], row["start"] + seconds - recording_seconds),
        "characters": characters,
        "characters_per_second": characters / seconds if characters and seconds > 0 else float("nan"),
        "feature_frames": frame_count(round(seconds * SAMPLE_RATE)),
        "sentence": int.from_bytes(blake2b(row["text"].encode(), digest_size=8).digest(), "big", signed=True),
    }


class Columns:
    """A table that grows row by row without an object a cell."""

    CHUNK = 10_000  # ids that are Python objects at a time

    def __init__(self, types: Mapping[str, str]) -> None:
        self.columns = {name: array(code) for name, code in types.items()}
        self._chunks: list[Any] = []  # of Arrow strings
        self._latest: list[str] = []

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def append(self, identity: str, row: Mapping[str, Any]) -> None:
        for name, column in self.columns.items():
            column.append(row[name])
        self._latest.append(identity)
        if len(self._latest) == self.CHUNK:
            self._seal()

    def ids(self, first: int) -> Iterator[str]:
        """From row ``first`` on."""
        self._seal()
        for chunk in self._chunks:
            if first < len(chunk):
                yield from chunk.slice(first).to_pylist()
            first = max(0, first - len(chunk))

    def table(self) -> pandas.DataFrame:
        import pandas
        import pyarrow

        self._seal()
        ids = pandas.array(pyarrow.chunked_array(self._chunks, pyarrow.large_string()), dtype="str")
        figures = {name: np.frombuffer(column, column.typecode) for name, column in self.columns.items()}
        return pandas.DataFrame({"id": ids, **figures})

    def _seal(self) -> None:
        import pyarrow

        if self._latest:
            self._chunks.append(pyarrow.array(self._latest, pyarrow.large_string()))
            self._latest = []
