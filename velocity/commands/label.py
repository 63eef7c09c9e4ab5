"""``velocity-asr label``: recordings without text → a corpus with pseudo-labels, in LibriSpeech's layout."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE, load_audio
from velocity.commands.transcribe import find_audio
from velocity.corpora.layout import speaker_of
from velocity.errors import VelocityError, printable
from velocity.files import atomic_directory
from velocity.progress import track
from velocity.recognition.offline import VelocityASR
from velocity.recognition.pseudo_labels import PseudoLabel, pseudo_labels


def label(model: VelocityASR, folder: Path, out: Path, least: float, jobs: int) -> list[str]:
    """Write the utterances of ``folder`` whose confidence is ``least`` or more to ``out``; one line for each recording
    that cannot be read.

    Prints how much there is. Raises VelocityError for an ``out`` that exists, and when there is no such utterance.
    """
    if out.exists() or out.is_symlink():
        raise VelocityError(f"{printable(out)}: exists already; name another folder, or remove it")
    paths = find_audio(folder)
    given = kept = count = 0  # samples, samples, utterances
    failures = []
    with atomic_directory(out) as partial_folder, ThreadPoolExecutor(jobs) as pool:
        results = pool.map(partial(_labelled, model, least), paths)
        for path, result in track(zip(paths, results, strict=True), "label", len(paths)):
            if isinstance(result, VelocityError):
                failures.append(str(result))
                continue
            samples, labels = result
            given += len(samples)
            kept += sum(len(found.cut(samples)) for found in labels)
            count += len(labels)
            _write(partial_folder, path.relative_to(folder), samples, labels)
        if not count:
            raise VelocityError(f"{printable(folder)}: no speech with a confidence of {least:g} or more")
    minutes = f"{kept / SAMPLE_RATE / 60:.1f} of {given / SAMPLE_RATE / 60:.1f} minutes"
    print(f"label: {count} utterances, {minutes}, in {printable(out)}", file=sys.stderr)
    return failures


def _labelled(model: VelocityASR, least: float, path: Path) -> tuple[np.ndarray, list[PseudoLabel]] | VelocityError:
    try:
        samples = load_audio(path)
        return samples, list(pseudo_labels(model.passages(samples), len(samples) / SAMPLE_RATE, least))
    except VelocityError as error:
        return error


def _write(out: Path, path: Path, samples: np.ndarray, labels: list[PseudoLabel]) -> None:
    """The utterances of one recording, ``path`` below the folder that was labelled."""
    import soundfile

    if not labels:
        return
    folder = (out / path).parent
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, found in enumerate(labels):
        name = f"{_stem(path)}-{number:03d}"
        soundfile.write(folder / f"{name}.flac", found.cut(samples), SAMPLE_RATE, subtype="PCM_16")
        lines.append(f"{name} {found.text}\n")
    with open(folder / f"{path.stem}.trans.txt", "w", encoding="utf-8") as file:
        file.writelines(lines)


def _stem(path: Path) -> str:
    """What the ids of a recording's utterances begin with: the speaker, as ``velocity.corpora.layout`` wants it."""
    speaker = speaker_of(path) or (path.parts[0] if len(path.parts) > 1 else path.stem)
    return path.stem if path.stem.startswith(f"{speaker}-") else f"{speaker}-{path.stem}"
