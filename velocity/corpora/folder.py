"""A folder of speech in LibriSpeech layout (Panayotov et al. 2015) → Lhotse manifests.

Audio files of any format soundfile reads, anywhere below the folder; with them ``*.trans.txt``, a line 'ID TEXT' an
utterance, ID being the audio file's name without its ending. The speaker is what stands before the first '-' of the ID,
or else the folder two levels up. ``SPEAKERS.TXT`` is optional: '|' between columns, the last ';' line names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.audio import AUDIO_SUFFIXES
from velocity.errors import VelocityError
from velocity.progress import track

if TYPE_CHECKING:
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

ADULT = 18  # years
SHOWN = 3  # of the faulty items


def read_folder(
    name: str, folder: str | Path, labelled: bool = True, synthetic: bool = False
) -> tuple[RecordingSet, SupervisionSet]:
    """Recordings and supervisions, sorted by id (``<name>/<utterance id>``), their paths beginning as ``folder`` does.

    Without labels the supervisions are empty. Raises VelocityError, naming the first few files, for a missing folder,
    no audio or transcript in it, unreadable audio, duplicate ids, a malformed line of a transcript, a transcript
    without audio, audio without transcript and an unknown speaker.
    """
    from lhotse import RecordingSet, SupervisionSet

    folder = Path(folder)
    if not folder.is_dir():
        raise VelocityError(f"corpora.{name}.source: {folder}: no such folder")
    audio = _find_audio(name, folder)
    recordings = _read_headers(name, audio)
    supervisions: list[SupervisionSegment] = []
    if labelled:
        texts = _read_transcripts(name, folder)
        _refuse(name, "transcript without audio", sorted(texts.keys() - audio.keys()))
        _refuse(name, "audio without transcript", [str(audio[i]) for i in sorted(audio.keys() - texts.keys())])
        ages = _read_ages(folder / "SPEAKERS.TXT")
        for recording in recordings:
            utterance = recording.id.removeprefix(f"{name}/")
            speaker = _speaker_of(audio[utterance].relative_to(folder))
            supervisions.append(_supervision(name, recording, speaker, texts[utterance], ages.get(speaker), synthetic))
    return RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(supervisions)


def _refuse(name: str, what: str, items: Sequence[object]) -> None:
    """Raise VelocityError when there are ``items``, showing the first few and their number."""
    if items:
        shown = ", ".join(map(str, items[:SHOWN])) + (", …" if len(items) > SHOWN else "")
        raise VelocityError(f"corpus {name}: {what} ({len(items)}): {shown}")


def _find_audio(name: str, folder: Path) -> dict[str, Path]:
    """Utterance id → file, sorted by id."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise VelocityError(f"corpora.{name}.source: {folder}: no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
    audio: dict[str, Path] = {}
    _refuse(name, "duplicate utterance id", [path for path in files if audio.setdefault(path.stem, path) != path])
    return dict(sorted(audio.items()))


def _read_headers(name: str, audio: dict[str, Path]) -> list[Recording]:
    import soundfile
    from lhotse import AudioSource, Recording

    def read(utterance: str) -> Recording | str:
        path = audio[utterance]
        try:
            header = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            return f"{path} ({str(error).splitlines()[0].rsplit(': ', 1)[-1]})"
        source = AudioSource("file", channels=list(range(header.channels)), source=str(path))
        seconds = header.frames / header.samplerate
        return Recording(f"{name}/{utterance}", [source], header.samplerate, header.frames, seconds)

    with ThreadPoolExecutor(2) as pool:
        results = list(track(pool.map(read, audio), f"read {name}", len(audio)))
    _refuse(name, "unreadable audio", [result for result in results if isinstance(result, str)])
    return [result for result in results if not isinstance(result, str)]


def _read_transcripts(name: str, folder: Path) -> dict[str, str]:
    """Utterance id → raw text of every ``*.trans.txt``."""
    paths = sorted(folder.rglob("*.trans.txt"))
    if not paths:
        advice = f"set corpora.{name}.labelled to false if it has none"
        raise VelocityError(f"corpora.{name}.source: {folder}: no *.trans.txt below it; {advice}")
    texts: dict[str, str] = {}
    malformed, duplicates = [], []
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            utterance, _, text = line.strip().partition(" ")
            if not line.strip():
                continue
            if not text.strip():
                malformed.append(f"{path} line {number}: {line.strip()!r}")
            elif utterance in texts:
                duplicates.append(f"{utterance} in {path} line {number}")
            texts[utterance] = text.strip()
    _refuse(name, "malformed line of a transcript, not 'ID TEXT'", malformed)
    _refuse(name, "duplicate utterance id", duplicates)
    return texts


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


def _speaker_of(path: Path) -> str:
    speaker, dash, _ = path.stem.partition("-")
    if dash and speaker:
        return speaker
    if len(path.parts) < 3:
        raise VelocityError(f"{path}: no speaker in its name; call it SPEAKER-… or place it in SPEAKER/CHAPTER/")
    return path.parts[-3]


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
