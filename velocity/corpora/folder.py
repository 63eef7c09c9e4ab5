"""A folder of speech in LibriSpeech layout (Panayotov et al. 2015) → Lhotse manifests.

Audio files of any format soundfile reads, anywhere below the folder; with them ``*.trans.txt``, a line 'ID TEXT' an
utterance, ID being the audio file's name without its ending. The speaker is what stands before the first '-' of the ID,
or else the folder two levels up. ``SPEAKERS.TXT`` is optional: '|' between columns, the last ';' line names them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.audio import AUDIO_SUFFIXES
from velocity.data.manifests import Fault
from velocity.errors import VelocityError
from velocity.progress import track

if TYPE_CHECKING:
    from lhotse import Recording, SupervisionSegment

ADULT = 18  # years


def read_folder(
    name: str, folder: str | Path, labelled: bool = True, synthetic: bool = False
) -> tuple[list[Recording], list[SupervisionSegment], list[Fault]]:
    """Recordings and supervisions, sorted by id (``<name>/<utterance id>``), their paths beginning as ``folder`` does.

    Without labels the supervisions are empty. What is wrong with single utterances comes as faults, and these are not
    among the others: ``unreadable-audio``, ``transcript-without-audio``, ``audio-without-transcript``,
    ``duplicate-id``, ``malformed-transcript`` and ``unknown-speaker``.
    Raises VelocityError for a missing folder, no audio or no transcript in it, and a transcript that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VelocityError(f"corpora.{name}.source: {folder}: no such folder")
    faults = Faults(name)
    audio = _find_audio(name, folder, faults)
    texts = _read_transcripts(name, folder, faults) if labelled else {}
    if labelled:
        for utterance in sorted(texts.keys() - audio.keys()):
            faults.add(utterance, "transcript-without-audio", texts[utterance].where)
        for utterance in sorted(audio.keys() - texts.keys()):
            faults.add(utterance, "audio-without-transcript", audio[utterance])
    wanted = {utterance: path for utterance, path in audio.items() if utterance not in faults.ids}
    recordings, supervisions = [], []
    ages = _read_ages(folder / "SPEAKERS.TXT")
    for utterance, recording in _read_headers(name, wanted, faults):
        if labelled:
            speaker = _speaker_of(audio[utterance].relative_to(folder))
            if speaker is None:
                faults.add(utterance, "unknown-speaker", audio[utterance])
                continue
            text = texts[utterance].text
            supervisions.append(_supervision(name, recording, speaker, text, ages.get(speaker), synthetic))
        recordings.append(recording)
    return recordings, supervisions, faults.found


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


def _find_audio(name: str, folder: Path, faults: Faults) -> dict[str, Path]:
    """Utterance id → its (first) file, sorted by id."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise VelocityError(f"corpora.{name}.source: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    named: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        named[path.stem].append(path)
    for utterance, paths in named.items():
        if len(paths) > 1:
            faults.add(utterance, "duplicate-id", *paths)
    return {utterance: named[utterance][0] for utterance in sorted(named)}


def _read_headers(name: str, audio: dict[str, Path], faults: Faults) -> Iterable[tuple[str, Recording]]:
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
        return Recording(f"{name}/{utterance}", [source], header.samplerate, header.frames, seconds)

    with ThreadPoolExecutor(2) as pool:
        for utterance, recording in zip(audio, track(pool.map(read, audio), f"read {name}", len(audio)), strict=True):
            if recording is None:
                faults.add(utterance, "unreadable-audio", audio[utterance])
            else:
                yield utterance, recording


@dataclass(frozen=True)
class Transcript:
    text: str  # as it stands in the file
    where: str


def _read_transcripts(name: str, folder: Path, faults: Faults) -> dict[str, Transcript]:
    """Utterance id → what every ``*.trans.txt`` says of it, faulty or not."""
    paths = sorted(folder.rglob("*.trans.txt"))
    if not paths:
        advice = f"set corpora.{name}.labelled to false if it has none"
        raise VelocityError(f"corpora.{name}.source: {folder}: no *.trans.txt below it; {advice}")
    texts: dict[str, list[Transcript]] = defaultdict(list)
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            utterance, _, text = line.strip().partition(" ")
            if utterance:
                texts[utterance].append(Transcript(text.strip(), f"{path} line {number}"))
    for utterance, found in texts.items():
        if len(found) > 1:
            faults.add(utterance, "duplicate-id", *(transcript.where for transcript in found))
        elif not found[0].text:
            faults.add(utterance, "malformed-transcript", found[0].where)
    return {utterance: found[0] for utterance, found in texts.items()}


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8-sig").replace("\t", " ").splitlines()
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 (byte {error.start})") from error


def _read_ages(path: Path) -> dict[str, float]:
    """Speaker → age in years, of those the file has one for; {} without a file or a column ``age``."""
    if not path.is_file():
        return {}
    columns: list[str] = []
    ages: dict[str, float] = {}
    for line in _lines(path):
        cells = [cell.strip() for cell in line.lstrip("; ").split("|")]
        if line.startswith(";"):
            columns = [cell.lower() for cell in cells]
        elif "age" in columns and len(cells) == len(columns):
            try:
                ages[cells[0]] = float(cells[columns.index("age")])
            except ValueError:  # "unknown" and the like
                continue
    return ages


def _speaker_of(path: Path) -> str | None:
    speaker, dash, _ = path.stem.partition("-")
    if dash and speaker:
        return speaker
    return path.parts[-3] if len(path.parts) >= 3 else None


def _supervision(
    name: str, recording: Recording, speaker: str, text: str, age: float | None, synthetic: bool
) -> SupervisionSegment:
    from lhotse import SupervisionSegment

    custom: dict[str, str | bool] = {"corpus": name, "synthetic": synthetic}
    if age is not None:
        custom["group"] = "adult" if age >= ADULT else "child"
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        text=text,
        language="English",
        speaker=speaker,
        custom=custom,
    )
