"""The folder that ``velocity-asr record`` fills: one speaker in LibriSpeech's layout, a new chapter each time."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.corpora.layout import find_transcripts, read_transcripts
from velocity.errors import VelocityError, printable
from velocity.files import atomic_path, walk
from velocity.reading.names import is_audio
from velocity.reading.recording import read_header
from velocity.text import normalize


class Recordings:
    """What ``speaker`` has read into ``folder`` so far; takes are added to a chapter of this object's own.

    ``seconds``: of all chapters. Earlier chapters are only read, so nothing is overwritten, whatever runs besides.
    """

    def __init__(self, folder: Path, speaker: str) -> None:
        """Raises VelocityError for a folder that cannot be written, and for a name that an id cannot hold."""
        if not re.fullmatch(r"\w+", speaker):
            raise VelocityError(f"--speaker {speaker!r}: letters, digits and _ only, as it is part of file names")
        self.folder, self.speaker = folder, speaker
        self._root = folder / speaker
        self._chapter = ""
        self._takes: list[tuple[str, float]] = []  # of this chapter: text and seconds
        self._made = [path for path in (self._root, folder) if not path.exists()]
        with _named(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        audio = {path.stem: path for path in walk(self._root) if is_audio(path)}
        lines = chain.from_iterable(map(read_transcripts, find_transcripts(self._root)))
        self._earlier = {normalize(transcript.text or "") for utterance, transcript in lines if utterance in audio}
        headers = [read_header(path) for path in audio.values()]
        self._earlier_seconds = sum(header.frames / header.rate for header in headers)

    def remove_if_empty(self) -> None:
        """Remove the folders that were made for recordings, but got none."""
        with suppress(OSError):  # not empty
            for folder in self._made:
                folder.rmdir()

    def __len__(self) -> int:
        """The takes of this chapter."""
        return len(self._takes)

    def __contains__(self, text: str) -> bool:
        """Whether an earlier chapter has the sentence."""
        return normalize(text) in self._earlier

    @property
    def seconds(self) -> float:
        return self._earlier_seconds + sum(seconds for _, seconds in self._takes)

    def add(self, samples: np.ndarray, text: str) -> None:
        """Write (samples,) int16 and the line of its transcript. Raises VelocityError when that fails."""
        import soundfile

        with _named(self._root), _uninterrupted():
            if not self._chapter:
                self._chapter = self._new_chapter()
            audio = self._audio(len(self._takes) + 1)
            takes = [*self._takes, (text, len(samples) / SAMPLE_RATE)]
            # Both are on the disk before either gets its name: no error, and hardly a kill, can part them.
            with self._new_transcript(takes), atomic_path(audio) as temporary:
                try:
                    soundfile.write(temporary, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
                except soundfile.LibsndfileError as error:
                    raise VelocityError(f"{printable(audio)}: cannot be written ({error})") from error
            self._takes = takes

    def take_back(self) -> str:
        """Remove the last take of this chapter; its text."""
        text, _ = self._takes[-1]
        with _named(self._root), _uninterrupted():
            if len(self._takes) > 1:
                with self._new_transcript(self._takes[:-1]):
                    pass
            else:
                self._transcript.unlink()
            self._audio(len(self._takes)).unlink()
            del self._takes[-1]
        return text

    def _new_chapter(self) -> str:
        number = 1 + max((int(path.name) for path in self._root.iterdir() if path.name.isdecimal()), default=0)
        (self._root / str(number)).mkdir()  # raises FileExistsError when another process is as fast
        return str(number)

    def _id(self, number: int) -> str:
        return f"{self.speaker}-{self._chapter}-{number:04d}"

    def _audio(self, number: int) -> Path:
        return self._root / self._chapter / f"{self._id(number)}.flac"

    @property
    def _transcript(self) -> Path:
        return self._root / self._chapter / f"{self.speaker}-{self._chapter}.trans.txt"

    @contextmanager
    def _new_transcript(self, takes: list[tuple[str, float]]) -> Iterator[None]:
        """The chapter's transcript with these ``takes``: it replaces the old one if the block succeeds."""
        with atomic_path(self._transcript) as temporary:
            lines = (f"{self._id(number)} {text}\n" for number, (text, _) in enumerate(takes, 1))
            temporary.write_text("".join(lines), encoding="utf-8")
            yield


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VelocityError(f"{printable(path)}: cannot be written ({reason})") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C does not part a take from its transcript; whoever presses it then presses it again."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
