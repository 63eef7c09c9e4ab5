"""``velocity-asr transcribe``: many files, of which a bad one does not stop the others."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from velocity.audio import AUDIO_SUFFIXES, SAMPLE_RATE, load_audio
from velocity.commands.formats import SUFFIXES, WRITERS, Format, Transcript
from velocity.errors import VelocityError
from velocity.files import write_text
from velocity.progress import track
from velocity.runtime import VelocityASR


def find_audio(folder: Path) -> list[Path]:
    """Every audio file below ``folder``, sorted. Raises VelocityError when there is none."""
    if not folder.is_dir():
        raise VelocityError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not found:
        raise VelocityError(f"{folder}: no audio file in or below it ({' '.join(AUDIO_SUFFIXES)})")
    return found


def output_paths(files: Sequence[Path], input_dir: Path | None, output_dir: Path, form: Format) -> list[Path]:
    """Where each transcript goes: as deep as the file lies below ``input_dir``.

    Raises VelocityError when two would be the same file.
    """
    taken: dict[Path, Path] = {}
    for file in files:
        inside = file.relative_to(input_dir) if input_dir and file.is_relative_to(input_dir) else Path(file.name)
        target = output_dir / inside.with_suffix(SUFFIXES[form])
        if target in taken:
            raise VelocityError(f"{taken[target]} and {file} would both be written to {target}; rename one")
        taken[target] = file
    return list(taken)


def transcribe_files(
    model: VelocityASR, files: Sequence[Path], targets: Sequence[Path] | None, form: Format
) -> list[str]:
    """Transcribe ``files`` to ``targets``, or to stdout when there are none; return a line for each that failed."""
    stdout = sys.stdout  # kept: while a progress bar lives, printing goes to stderr with it
    shown = len(files) > 1 and (targets is not None or not stdout.isatty())
    failures = []
    for index, file in enumerate(track(files, "transcribe", len(files)) if shown else files):
        try:
            transcript = transcribe(model, file)
        except VelocityError as error:
            failures.append(str(error))
            continue
        if targets is not None:
            write_text(targets[index], WRITERS[form](transcript))
        elif form is Format.TEXT and len(files) > 1:
            print(f"{file}\t{transcript.text}", file=stdout, flush=True)
        else:
            print(WRITERS[form](transcript), end="", file=stdout, flush=True)
    return failures


def transcribe(model: VelocityASR, file: Path) -> Transcript:
    """Raises VelocityError when ``file`` cannot be read."""
    started = time.perf_counter()
    samples = load_audio(file)
    log_probs = model.log_probs(samples)
    text = model.decode_ctc(log_probs)
    took, seconds = time.perf_counter() - started, len(samples) / SAMPLE_RATE
    return Transcript(str(file), text, seconds, took / seconds, model.segments(log_probs))
