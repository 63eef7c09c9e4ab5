"""``velocity-asr record``: sentences on the terminal, read into the microphone, kept as a folder of speech."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from velocity.commands import microphone, takes
from velocity.commands.recordings import Recordings
from velocity.errors import VelocityError, printable
from velocity.files import read_text
from velocity.text import foreign_letters, normalize

SHIPPED = Path(__file__).parents[1] / "pretrained" / "prompts.txt"  # ten minutes of sentences
HELP = """Read each sentence aloud, as you would say it to somebody.
Enter starts a take. It ends when you press Enter again, or when you are silent for a while.
r: take the last one back and repeat it    s: skip this one    q: stop; the same command goes on from there
"""


class Terminal:
    """The user's keyboard. Raises VelocityError when there is none."""

    def __init__(self) -> None:
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
            raise VelocityError("record needs a terminal: it shows sentences and waits for Enter")

    def ask(self, question: str) -> str:
        """The line that the user enters, in lower case; "q" when the input has ended."""
        print(question, end="", flush=True)
        line = sys.stdin.readline()
        return line.strip().lower() if line else "q"

    def stopped(self) -> bool:
        """Whether the user has pressed Enter since. Returns at once."""
        if sys.platform == "win32":
            import msvcrt

            return any(msvcrt.getwch() == "\r" for _ in iter(msvcrt.kbhit, False))
        import select

        if not select.select([sys.stdin], [], [], 0)[0]:
            return False
        return bool(sys.stdin.readline())  # "": the input has ended


def read_prompts(path: Path) -> list[str]:
    """The sentences of a text file, one a line, without those that repeat.

    Raises VelocityError when there are none, and for a line that is no English words.
    """
    prompts: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not (text := " ".join(line.split())):
            continue
        place = f"{printable(path)} line {number}"
        if foreign := foreign_letters(text):
            raise VelocityError(f"{place}: {foreign[0]!r} is not an English letter; write the words as they are spoken")
        if not (words := normalize(text)):
            raise VelocityError(f"{place}: no words in {printable(text)!r}; write one sentence a line")
        prompts.setdefault(words, text)
    if not prompts:
        raise VelocityError(f"{printable(path)}: no sentences; write one a line")
    return list(prompts.values())


def still_to_read(prompts: list[str], recordings: Recordings) -> list[str]:
    """What is not in ``recordings``: from the last one that is, onwards; then what was skipped before it."""
    done = [index for index, prompt in enumerate(prompts) if prompt in recordings]
    onwards = done[-1] + 1 if done else 0
    return [prompt for prompt in prompts[onwards:] + prompts[:onwards] if prompt not in recordings]


def session(recordings: Recordings, prompts: list[str], minutes: float, device: str | None, user: Terminal) -> None:
    """Record ``prompts`` until there are ``minutes`` of speech, the user stops, or presses Ctrl-C.

    Raises VelocityError without a microphone, and when a take cannot be written.
    """
    todo = still_to_read(prompts, recordings)
    where = f"{printable(recordings.folder)} ({recordings.speaker})"
    if not todo:
        print(f"{where}: all {len(prompts)} sentences are recorded. For other sentences: --prompts FILE")
        return
    if recordings.seconds >= 60 * minutes:
        print(
            f"{where}: {_progress(recordings, minutes)} are recorded. More: --minutes {recordings.seconds / 60 + 5:.0f}"
        )
        return
    try:
        with closing(_open(device)) as pieces:  # before the first sentence is read in vain
            next(pieces)
        print(HELP)
        _read(recordings, todo, minutes, device, user)
    except KeyboardInterrupt:
        print()
    count = len(recordings)
    print(f"\n{count} new {'sentence' if count == 1 else 'sentences'}; {where}: {_progress(recordings, minutes)}.")
    if recordings.seconds:
        print(f"How well are they recognised? velocity-asr evaluate --test-set {printable(recordings.folder)}")


def _read(recordings: Recordings, todo: list[str], minutes: float, device: str | None, user: Terminal) -> None:
    pending = list(reversed(todo))  # the next one is the last
    kept = True
    while True:
        complete = not pending or recordings.seconds >= 60 * minutes
        if complete:
            answer = user.ask("That was the last one. Enter: finish, r: repeat it > ")
        else:
            print(f"[{_progress(recordings, minutes)}]\n\n    {pending[-1]}\n")
            answer = user.ask("Enter: record, r, s, q > ")
        if answer == "q" or (complete and answer != "r"):
            return
        if answer == "" or (answer == "r" and not kept):  # after a useless take, r cannot mean the good one before it
            kept = _take(recordings, pending[-1], device, user)
            if kept:
                pending.pop()
        elif answer == "s":
            pending.pop()
            kept = True
            print()
        elif answer != "r":
            print(f"Unknown answer {answer!r}. Enter starts a take, r repeats, s skips, q stops.\n")
        elif len(recordings):
            pending.append(recordings.take_back())
            print("The last take is removed.\n")
        else:
            print("There is no take yet to repeat.\n")


def _take(recordings: Recordings, text: str, device: str | None, user: Terminal) -> bool:
    """One take; whether it was kept."""
    letters = len(normalize(text).replace(" ", ""))
    with closing(_open(device)) as pieces:
        next(pieces)  # a microphone takes a moment to open; the first piece has the click of the key, too
        while user.stopped():
            pass  # keys that were pressed too early
        print("Speak now …", flush=True)
        samples = takes.record(pieces, letters, user.stopped)
    verdict = takes.judge(samples, letters)
    if verdict.kept:
        recordings.add(verdict.samples, text)
    seconds = len(verdict.samples) / takes.SAMPLE_RATE
    outcome = f"Kept: {seconds:.1f} s." if verdict.kept else "Not kept; once more, please."
    print(f"{outcome} {verdict.advice}".rstrip() + "\n")
    return verdict.kept


def _open(device: str | None) -> Iterator[np.ndarray]:
    return microphone.pieces(takes.PIECE, device)


def _progress(recordings: Recordings, minutes: float) -> str:
    return f"{recordings.seconds / 60:.1f} of {minutes:g} minutes"
