"""One take: a sentence read into the microphone, from the key that starts it to the verdict on its level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.recognition.segmentation import LIKELY_REACH, VOICE_STEP, voice_activity

PIECE = 0.1  # seconds read at a time: as fast as a key has to be noticed
LOOK_EVERY = 5  # pieces between two searches for the end of the speech
QUIET = 1.5  # seconds without a voice that end a take
AROUND = LIKELY_REACH  # seconds around voiced sounds that ``voice_activity`` counts as speech
LONGEST = 60.0  # seconds

FULL_SCALE = 32_600  # of int16: a sample beyond it is clipped
SOME_CLIPPED, MANY_CLIPPED = 1e-4, 3e-3  # shares of the samples
FAINT, TOO_FAINT = -42.0, -55.0  # dB of full scale: the level of the speech
FASTEST = 30  # letters a second: nobody reads faster


class Verdict(NamedTuple):
    """``samples``: the speech and what surrounds it by AROUND seconds; ``kept``: whether they are good enough."""

    samples: np.ndarray
    kept: bool
    advice: str  # one line; "" if there is nothing to say


def record(pieces: Iterable[np.ndarray], stopped: Callable[[], bool]) -> np.ndarray:
    """(samples,) int16 until ``stopped``, or until QUIET seconds without a voice after speech, at most LONGEST."""
    heard: list[np.ndarray] = []
    for piece in pieces:
        heard.append(piece)
        if stopped() or len(heard) * PIECE >= LONGEST:
            break
        if len(heard) % LOOK_EVERY == 0:
            _, end = speech(samples := np.concatenate(heard))
            if end and len(samples) - end >= (QUIET - AROUND) * SAMPLE_RATE:
                break
    return np.concatenate(heard) if heard else np.empty(0, dtype=np.int16)


def speech(samples: np.ndarray) -> tuple[int, int]:
    """Where the speech in (samples,) int16 begins and ends, AROUND seconds included; (0, 0) without any."""
    if not len(samples):
        return 0, 0
    active = np.flatnonzero(voice_activity(samples.astype(np.float32) / 32768, alone=True))
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
    level = 10 * np.log10(np.mean(np.square(spoken / 32768)) + 1e-10)
    if level < TOO_FAINT:
        return Verdict(
            spoken, False, f"The take is too quiet ({level:.0f} dB): turn the microphone up, or come closer."
        )
    if clipped >= SOME_CLIPPED:
        return Verdict(spoken, True, "A little clipped: turn the microphone down, or move away from it.")
    if level < FAINT:
        return Verdict(spoken, True, f"Rather quiet ({level:.0f} dB): turn the microphone up, or come closer.")
    return Verdict(spoken, True, "")
