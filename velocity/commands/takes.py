"""One take: a sentence read into the microphone, from the key that starts it to the verdict on its level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.recognition.segmentation import LIKELY_REACH, VOICE_STEP, periodicity, voice_activity

PIECE = 0.1  # seconds read at a time: as fast as a key has to be noticed
LOOK_EVERY = 5  # pieces between two searches for the end of the speech
QUIET = 1.5  # seconds without a voice that end a take …
HARDLY_OVER = 3.0  # … and while the sentence can hardly be over: readers pause within it, too
USUAL = 16  # letters a second: nine of ten readers are slower, pauses included
DROP = 12.0  # dB from the level of the speech to what is quiet
AROUND = LIKELY_REACH  # seconds around voiced sounds that ``voice_activity`` counts as speech
LONGEST = 60.0  # seconds

FULL_SCALE = 32_600  # of int16: a sample beyond it is clipped
SOME_CLIPPED, MANY_CLIPPED = 1e-4, 3e-3  # shares of the samples
FAINT, TOO_FAINT = -42.0, -55.0  # dB of full scale: the level of the speech
FASTEST = 20  # letters a second, of what is kept: nobody reads faster


class Verdict(NamedTuple):
    """``samples``: the speech and what surrounds it by AROUND seconds; ``kept``: whether they are good enough."""

    samples: np.ndarray
    kept: bool
    advice: str  # one line; "" if there is nothing to say


def record(pieces: Iterable[np.ndarray], letters: int, stopped: Callable[[], bool]) -> np.ndarray:
    """(samples,) int16 of a sentence of so many ``letters``: until ``stopped`` or ``over``, at most LONGEST."""
    taken: list[np.ndarray] = []
    for piece in pieces:
        taken.append(piece)
        if stopped() or len(taken) * PIECE >= LONGEST:
            break
        if len(taken) % LOOK_EVERY == 0 and over(np.concatenate(taken), letters):
            break
    return np.concatenate(taken) if taken else np.empty(0, dtype=np.int16)


def over(samples: np.ndarray, letters: int) -> bool:
    """Whether (samples,) int16 hold speech and then quiet: no voice, and no noise that may be a voice after all."""
    start, end = speech(samples)
    if not end:
        return False
    wanted = QUIET if end - start >= letters / USUAL * SAMPLE_RATE else HARDLY_OVER
    if len(samples) - end < (wanted - AROUND) * SAMPLE_RATE:
        return False
    return _level(samples[end:]) < _level(samples[start:end]) - DROP


def _level(samples: np.ndarray) -> float:
    """The mean power of (samples,) int16 in dB of full scale."""
    return 10 * float(np.log10(np.mean(np.square(samples / 32768)) + 1e-10))


def speech(samples: np.ndarray) -> tuple[int, int]:
    """Where the speech in (samples,) int16 begins and ends, AROUND seconds included; (0, 0) without any."""
    if not len(samples):
        return 0, 0
    active = np.flatnonzero(voice_activity(periodicity(samples.astype(np.float32) / 32768), alone=True))
    if not len(active):
        return 0, 0
    step = round(VOICE_STEP * SAMPLE_RATE)
    return int(active[0]) * step, min(len(samples), (int(active[-1]) + 1) * step)


def judge(samples: np.ndarray, letters: int) -> Verdict:
    """Whether a take of a sentence of so many ``letters`` is of use, and what to do better."""
    start, end = speech(samples)
    spoken = samples[start:end]
    if not len(spoken):
        return Verdict(
            spoken, False, "No voice was heard. Is it the right microphone, switched on, and may this terminal use it?"
        )
    if len(samples) >= LONGEST * SAMPLE_RATE:
        return Verdict(spoken, False, f"The take is as long as takes may be ({LONGEST:.0f} s): press Enter at the end.")
    if len(spoken) < letters / FASTEST * SAMPLE_RATE:
        return Verdict(
            spoken, False, "The take is too short for the sentence: press Enter again only when you are done."
        )
    clipped = float(np.mean(np.abs(spoken.astype(np.int32)) >= FULL_SCALE))
    if clipped >= MANY_CLIPPED:
        return Verdict(spoken, False, "The take is clipped: turn the microphone down, or move away from it.")
    level = _level(spoken)
    if level < TOO_FAINT:
        return Verdict(
            spoken, False, f"The take is too quiet ({level:.0f} dB): turn the microphone up, or come closer."
        )
    if clipped >= SOME_CLIPPED:
        return Verdict(spoken, True, "A little clipped: turn the microphone down, or move away from it.")
    if level < FAINT:
        return Verdict(spoken, True, f"Rather quiet ({level:.0f} dB): turn the microphone up, or come closer.")
    return Verdict(spoken, True, "")
