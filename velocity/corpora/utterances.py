"""What the readers of all corpora share: audio and transcripts that belong together → manifests, the rest → faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.data.manifests import Fault
from velocity.errors import VelocityError
from velocity.progress import track

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

    Manifests = tuple[list[Recording], list[SupervisionSegment], list[Fault]]

ADULT = 18  # years


@dataclass(frozen=True)
class Transcript:
    """What a corpus says of an utterance. ``text`` None: nobody has written down what is said."""

    text: str | None  # as it stands in the file
    where: str  # the file, with the number of the line
    speaker: str | None
    group: str | None = None  # "adult" or "child"
    part: str | None = None  # of the corpus, as it was published


class Faults:
    """An utterance is left out for the first fault that is found of it; only the places of a duplicate are all told."""

    def __init__(self, corpus: str) -> None:
        self.corpus = corpus
        self.found: list[Fault] = []
        self.ids: set[str] = set()

    def add(self, utterance: str, kind: str, *places: str | Path) -> None:
        if utterance not in self.ids:
            self.ids.add(utterance)
            self.found += [Fault(self.corpus, f"{self.corpus}/{utterance}", kind, str(place)) for place in places]


def collect_audio(files: Iterable[tuple[str, Path]], faults: Faults) -> dict[str, Path]:
    """(utterance id, file) → id → its (first) file, sorted by id; a second one is a ``duplicate-id``."""
    named: dict[str, list[Path]] = defaultdict(list)
    for utterance, path in files:
        named[utterance].append(path)
    for utterance, paths in named.items():
        if len(paths) > 1:
            faults.add(utterance, "duplicate-id", *paths)
    return {utterance: named[utterance][0] for utterance in sorted(named)}


def collect_transcripts(lines: Iterable[tuple[str, Transcript]], faults: Faults) -> dict[str, Transcript]:
    """(utterance id, transcript) → id → its (first) one; ``duplicate-id`` and ``malformed-transcript`` (no text)."""
    named: dict[str, list[Transcript]] = defaultdict(list)
    for utterance, transcript in lines:
        named[utterance].append(transcript)
    for utterance, found in named.items():
        if len(found) > 1:
            faults.add(utterance, "duplicate-id", *(transcript.where for transcript in found))
        elif not found[0].text:
            faults.add(utterance, "malformed-transcript", found[0].where)
    return {utterance: found[0] for utterance, found in named.items()}


def describe(
    audio: dict[str, Path], transcripts: dict[str, Transcript] | None, faults: Faults, synthetic: bool = False
) -> Manifests:
    """Recordings and supervisions of what is whole, and all faults; ids are ``<corpus>/<utterance id>``.

    Without ``transcripts`` there are no supervisions. Adds ``transcript-without-audio``, ``audio-without-transcript``,
    ``unreadable-audio`` and ``unknown-speaker`` to ``faults``.
    """
    for utterance in sorted((transcripts or {}).keys() - audio.keys()):
        faults.add(utterance, "transcript-without-audio", transcripts[utterance].where)
    if transcripts is not None:
        for utterance in sorted(audio.keys() - transcripts.keys()):
            faults.add(utterance, "audio-without-transcript", audio[utterance])
    recordings, supervisions = [], []
    wanted = {utterance: path for utterance, path in audio.items() if utterance not in faults.ids}
    for utterance, recording in _read_headers(wanted, faults):
        if transcripts is not None:
            if not transcripts[utterance].speaker:
                faults.add(utterance, "unknown-speaker", audio[utterance])
                continue
            supervisions.append(_supervision(faults.corpus, recording, transcripts[utterance], synthetic))
        recordings.append(recording)
    return recordings, supervisions, faults.found


def _read_headers(audio: dict[str, Path], faults: Faults) -> Iterator[tuple[str, Recording]]:
    """Of the files that hold audio, in the order given."""
    import soundfile
    from lhotse import AudioSource, Recording

    def read(utterance: str) -> Recording | None:
        path = str(audio[utterance])
        try:
            header = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError, RuntimeError):
            return None
        if header.frames == 0:
            return None
        source = AudioSource("file", channels=list(range(header.channels)), source=path)
        seconds = header.frames / header.samplerate
        return Recording(f"{faults.corpus}/{utterance}", [source], header.samplerate, header.frames, seconds)

    with ThreadPoolExecutor(2) as pool:
        headers = track(pool.map(read, audio), f"read {faults.corpus}", len(audio))
        for utterance, recording in zip(audio, headers, strict=True):
            if recording is None:
                faults.add(utterance, "unreadable-audio", audio[utterance])
            else:
                yield utterance, recording


def read_lines(path: Path) -> list[str]:
    """Raises VelocityError, naming the file, when it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # and not at what Unicode calls a line
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 (byte {error.start})") from error


def age_group(years: float | None) -> str | None:
    return None if years is None else "adult" if years >= ADULT else "child"


def _supervision(corpus: str, recording: Recording, transcript: Transcript, synthetic: bool) -> SupervisionSegment:
    from lhotse import SupervisionSegment

    told = {"group": transcript.group, "part": transcript.part}
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        text=transcript.text,
        language="English",
        speaker=transcript.speaker,
        custom={"corpus": corpus, "synthetic": synthetic, **{key: value for key, value in told.items() if value}},
    )
