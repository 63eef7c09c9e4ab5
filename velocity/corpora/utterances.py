"""What the readers of all corpora share: audio and transcripts that belong together → manifests, the rest → faults.

Both are sorted by utterance on disk and then read side by side, so memory does not grow with the corpus.
"""

from __future__ import annotations

import heapq
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.data.manifests import Fault
from velocity.data.sorting import Sorter
from velocity.errors import VelocityError
from velocity.progress import track
from velocity.reading.recording import Header, read_header

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

    from velocity.data.manifests import Item

ADULT = 18  # years
BLOCK = 1000  # headers read at a time


@dataclass(frozen=True)
class Transcript:
    """What a corpus states about an utterance."""

    text: str | None  # as it stands in the file; "": malformed; None: the corpus has no transcripts
    where: str  # the file, with the number of the line
    speaker: str | None
    group: str | None = None  # "adult" or "child"
    part: str | None = None  # of the corpus, as it was published


Complete = Callable[[Transcript, Path], Transcript]


def describe(
    corpus: str,
    audio: Iterable[tuple[str, Path]],
    transcripts: Iterable[tuple[str, Transcript]] | None,
    complete: Complete = lambda transcript, path: transcript,
    synthetic: bool = False,
) -> Iterator[Item]:
    """Recordings and supervisions of complete utterances, and faults, utterance by utterance.

    ``audio`` and ``transcripts`` as for ``match``; ids of what comes out are ``<corpus>/<utterance id>``. Without
    transcripts there are no supervisions. ``complete`` adds what the path of the audio file tells to a transcript. An
    utterance is left out for the faults of ``fault_of``, for ``unreadable-audio`` and for ``unknown-speaker``.
    """
    with ThreadPoolExecutor(2) as pool:
        utterances = match(audio, transcripts or (), f"read {corpus}")
        while block := list(islice(utterances, BLOCK)):
            faults = [fault_of(paths, found, transcripts is not None) for _, paths, found in block]
            whole = [str(paths[0]) for (_, paths, _), fault in zip(block, faults, strict=True) if not fault]
            headers = pool.map(_read_header, whole)
            for (utterance, paths, found), fault in zip(block, faults, strict=True):
                name = f"{corpus}/{utterance}"
                recording = None if fault else _recording(name, paths[0], next(headers))
                transcript = complete(found[0], paths[0]) if found and recording else None
                if not fault and not recording:
                    fault = "unreadable-audio", paths
                elif transcript and not transcript.speaker:
                    fault = "unknown-speaker", paths
                if fault:
                    kind, places = fault
                    yield from (Fault(corpus, name, kind, str(place)) for place in places)
                    continue
                yield recording
                if transcript:
                    yield _supervision(corpus, recording, transcript, synthetic)


def match(
    audio: Iterable[tuple[str, Path]], transcripts: Iterable[tuple[str, Transcript]], title: str
) -> Iterator[tuple[str, list[Path], list[Transcript]]]:
    """(utterance id, its audio files, its transcripts) by id, of pairs with the id in any order.

    ``title`` is that of the progress bar.
    """
    with Sorter() as files, Sorter() as lines:
        count = 0
        for utterance, path in audio:
            files.add(_key(utterance), json.dumps(str(path)) + "\n")  # JSON: names may have tabs and line feeds
            count += 1
        for utterance, transcript in transcripts:
            lines.add(_key(utterance), json.dumps(astuple(transcript)) + "\n")
        yield from track(_join(files, lines), title, count)


def _key(utterance: str) -> str:
    """Names are composed: macOS writes é as e with an accent, and transcripts usually do not."""
    return json.dumps(unicodedata.normalize("NFC", utterance))


def _join(files: Sorter, lines: Sorter) -> Iterator[tuple[str, list[Path], list[Transcript]]]:
    pairs = heapq.merge(
        ((key, 0, line) for key, line in files), ((key, 1, line) for key, line in lines), key=_utterance
    )
    for key, group in groupby(pairs, key=_utterance):
        values: tuple[list[str], list[str]] = ([], [])
        for _, kind, line in group:
            values[kind].append(line)
        paths = sorted(Path(json.loads(line)) for line in dict.fromkeys(values[0]))
        yield json.loads(key), paths, [Transcript(*json.loads(line)) for line in values[1]]


_utterance = itemgetter(0)


def fault_of(
    paths: list[Path], transcripts: list[Transcript], labelled: bool = True
) -> tuple[str, Iterable[str | Path]] | None:
    """What is wrong with an utterance before its audio is opened: the kind of fault and where it lies.

    The first of ``duplicate-id``, ``malformed-transcript``, ``transcript-without-audio``, ``audio-without-transcript``.
    """
    places = [transcript.where for transcript in transcripts]
    if len(paths) > 1:
        return "duplicate-id", paths
    if len(transcripts) > 1:
        return "duplicate-id", places
    if transcripts and transcripts[0].text == "":
        return "malformed-transcript", places
    if not paths:
        return "transcript-without-audio", places
    if labelled and not transcripts:
        return "audio-without-transcript", paths
    return None


def _read_header(path: str) -> Header | None:
    """None for a file without audio."""
    try:
        return read_header(path)
    except VelocityError:
        return None


def _recording(name: str, path: Path, header: Header | None) -> Recording | None:
    from lhotse import AudioSource, Recording

    if header is None:
        return None
    channels, rate, frames = header
    return Recording(name, [AudioSource("file", list(range(channels)), str(path))], rate, frames, frames / rate)


def read_lines(path: Path) -> Iterator[str]:
    """One at a time. Raises VelocityError, naming the file, when it is missing or not UTF-8."""
    first = 0  # byte of the line
    try:
        with open(path, "rb") as file:
            for line in file:  # which ends at line feeds, and not at what Unicode calls a line
                text = line.decode("utf-8" if first else "utf-8-sig")
                yield from text.removesuffix("\n").removesuffix("\r").split("\r")
                first += len(line)
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 (byte {first + error.start})") from error


def age_group(years: float | None) -> str | None:
    return None if years is None else "adult" if years >= ADULT else "child"


def _supervision(corpus: str, recording: Recording, transcript: Transcript, synthetic: bool) -> SupervisionSegment:
    from lhotse import SupervisionSegment

    optional = {"group": transcript.group, "part": transcript.part}
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        text=transcript.text,
        language="English",
        speaker=transcript.speaker,
        custom={"corpus": corpus, "synthetic": synthetic, **{key: value for key, value in optional.items() if value}},
    )
