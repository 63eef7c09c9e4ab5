"""``velocity-asr transcribe``: many files; a bad one does not stop the others."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Event

import numpy as np

from velocity.audio import SAMPLE_RATE, claimed_seconds, read_blocks
from velocity.commands.formats import SUFFIXES, Format, Transcript, written
from velocity.errors import VelocityError, VelocityWarning, printable
from velocity.files import atomic_path, standard_input, walk
from velocity.progress import Progress
from velocity.reading.names import AUDIO_SUFFIXES, is_audio, is_leftover
from velocity.recognition.offline import Passage, VelocityASR

STDIN = Path("-")
NAMED = 5  # files in a note
LONG = 60.0  # seconds of audio from which a progress bar is shown


@dataclass(frozen=True)
class Source:
    """A file to transcribe, its path below an output folder, and the reason if it cannot be transcribed."""

    path: Path
    inside: Path
    fault: str | None = None


def find_sources(files: Sequence[Path], input_dir: Path | None) -> list[Source]:
    """The files to transcribe; for folders, every audio file below them. What is skipped is said in a note."""
    sources, leftovers = [], []
    for path in [*files, *([input_dir] if input_dir else [])]:
        if path == STDIN:
            sources.append(Source(path, Path("stdin")))
        elif path.is_dir() or path == input_dir:
            try:
                sources += [Source(found, found.relative_to(path)) for found in find_audio(path)]
            except VelocityError as error:
                sources.append(Source(path, Path(path.resolve().name or "root"), str(error)))
        elif is_leftover(path):  # a shell's * names them too
            leftovers.append(path)
        else:
            sources.append(Source(path, Path(path.name)))
    if leftovers:
        _note_skipped(leftovers, "left there by macOS or Windows, no recordings")
    return sources


def _note_skipped(paths: Sequence[Path], why: str) -> None:
    named = ", ".join(printable(path) for path in paths[:NAMED]) + (", …" if len(paths) > NAMED else "")
    files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    warnings.warn(f"{files} skipped, {why}: {named}", VelocityWarning, stacklevel=2)


def find_audio(folder: Path) -> list[Path]:
    """Every audio file below ``folder``, sorted. Raises VelocityError when there is none."""
    if not folder.is_dir():
        raise VelocityError(f"{printable(folder)}: no such folder")
    files = sorted(path for path in walk(folder) if not is_leftover(path))
    found = [path for path in files if is_audio(path)]
    others = [path for path in files if not is_audio(path) and not path.name.startswith(".")]
    if others and found:
        _note_skipped(others, "without the extension of an audio file")
    if not found:
        raise VelocityError(f"{printable(folder)}: no audio file in it ({' '.join(AUDIO_SUFFIXES)})")
    return found


def output_paths(sources: Sequence[Source], output_dir: Path, form: Format) -> list[Path]:
    """The file for each transcript. Raises VelocityError when two would be the same file."""
    taken: dict[Path, Path] = {}
    for source in sources:
        target = output_dir / source.inside.with_suffix(SUFFIXES[form])
        if target in taken:
            pair = f"{printable(taken[target])} and {printable(source.path)}"
            raise VelocityError(f"{pair} would both be written to {printable(target)}; rename one")
        taken[target] = source.path
    return list(taken)


def transcribe_files(
    model: VelocityASR, sources: Sequence[Source], targets: Sequence[Path] | None, form: Format, jobs: int = 1
) -> list[str]:
    """Transcribe ``sources`` to ``targets``, or to stdout without them; return one line for each failure.

    ``jobs`` files at a time, in order; the text of a single file is written to stdout while it is recognised.
    """
    if len(sources) == 1 and targets is None:
        return _transcribe_one(model, sources[0], form)
    stdout = sys.stdout  # while a progress bar is shown, sys.stdout is redirected to stderr
    stopped = Event()

    def check_stopped(passage: Passage) -> None:
        if stopped.is_set():
            raise VelocityError("stopped")

    def work(index: int) -> tuple[str, Transcript] | VelocityError:
        source = sources[index]
        try:
            with opened(source) as (path, name):
                transcript = listen(model, path, form is not Format.TEXT, check_stopped, name)
                transcript.file = str(source.path)
                if targets is not None:
                    _write(targets[index], written(transcript, form))
                    return "", transcript
                text = "".join(written(transcript, form))
                return (f"{printable(source.path)}\t{text}" if form is Format.TEXT else text), transcript
        except VelocityError as error:
            return error

    failures, audio, seconds = [], 0.0, 0.0
    pool = ThreadPoolExecutor(jobs)  # onnxruntime and NumPy release the GIL while they compute
    try:
        with Progress("transcribe", len(sources)) as progress:
            for result in pool.map(work, range(len(sources))) if jobs > 1 else map(work, range(len(sources))):
                if isinstance(result, VelocityError):
                    failures.append(str(result))
                else:
                    text, transcript = result
                    print(text, end="", file=stdout, flush=True)
                    audio, seconds = audio + transcript.seconds, seconds + transcript.seconds * transcript.rtf
                progress.advance(RTF=seconds / audio if audio else 0.0)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
    return failures


def usable_cores() -> int:
    """The processor cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or taskset may allow fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _transcribe_one(model: VelocityASR, source: Source, form: Format) -> list[str]:
    """Transcribe a single source to stdout, passage by passage."""
    stdout = sys.stdout
    part = ""
    try:
        with opened(source) as (path, name):
            claimed = claimed_seconds(path)
            shown = sys.stderr.isatty() and not stdout.isatty() and claimed > LONG
            with Progress("transcribe", round(claimed)) if shown else nullcontext() as bar:
                transcript = listen(model, path, form is not Format.TEXT, partial(_show, bar), name)
                transcript.file = str(source.path)
                for part in written(transcript, form):
                    print(part, end="", file=stdout, flush=True)
    except VelocityError as error:
        if part and not part.endswith("\n"):
            print(file=stdout, flush=True)
        return [str(error)]
    return []


def _show(bar: Progress | None, passage: Passage) -> None:
    if bar is not None:
        bar.advance(round(passage.end) - bar.done, RTF=(time.monotonic() - bar.started) / passage.end)


def _write(target: Path, parts: Iterator[str]) -> None:
    try:
        with atomic_path(target) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.writelines(parts)
    except OSError as error:
        raise VelocityError(f"{printable(target)}: cannot be written ({error.strerror})") from error


@contextmanager
def opened(source: Source) -> Iterator[tuple[Path, str]]:
    """The file to read for ``source``, and its name for messages; standard input is copied to a file, because audio
    readers seek. Raises VelocityError for the fault of a source."""
    if source.fault:
        raise VelocityError(source.fault)
    if source.path != STDIN:
        yield source.path, printable(source.path)
        return
    with NamedTemporaryFile(prefix="velocity-asr-") as file:
        shutil.copyfileobj(standard_input(), file)
        file.flush()
        yield Path(file.name), "standard input"


def listen(
    model: VelocityASR,
    file: Path,
    words: bool = True,
    after: Callable[[Passage], None] = lambda passage: None,
    name: str | None = None,
    longest: float = math.inf,
) -> Transcript:
    """A transcript whose passages are recognised lazily; ``after`` is called with each one first. ``name``: what
    messages call the file.

    Without ``words`` there is only text. Iterating raises VelocityError when ``file`` cannot be read, or has more than
    ``longest`` seconds.
    """
    transcript = Transcript(str(file), [])

    def counted() -> Iterator[np.ndarray]:
        for block in read_blocks(file, name=name):
            transcript.seconds += len(block) / SAMPLE_RATE
            if transcript.seconds > longest:
                raise VelocityError(f"the audio is too long: at most {longest:g} s")
            yield block

    def passages() -> Iterator[Passage]:
        took, started = 0.0, time.perf_counter()
        for passage in model.passages(counted(), words):
            took += time.perf_counter() - started
            after(passage)
            yield passage
            started = time.perf_counter()
        transcript.rtf = (took + time.perf_counter() - started) / transcript.seconds

    transcript.passages = passages()
    return transcript
