"""A microphone and a user for the tests of ``velocity-asr record``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from velocity.audio import SAMPLE_RATE


def voice(seconds: float = 4.0, peak: float = 0.3) -> np.ndarray:
    """A buzz with the harmonics of a low voice: (samples,) int16."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * 125 * harmonic * time) / harmonic for harmonic in range(1, 9))
    return np.round(np.clip(buzz / np.abs(buzz).max() * peak, -1, 1) * 32767).astype(np.int16)


def quiet(seconds: float) -> np.ndarray:
    """The noise of a quiet room, 80 dB below full scale: (samples,) int16."""
    return np.round(np.random.default_rng(1).normal(0, 3, round(seconds * SAMPLE_RATE))).astype(np.int16)


class Microphone:
    """In the place of ``microphone.pieces``: gives ``takes`` one after the other, then the same quiet for ever."""

    def __init__(self, *takes: np.ndarray) -> None:
        self.takes, self.devices = list(takes), []

    def __call__(self, seconds: float, device: str | None = None) -> Iterator[np.ndarray]:
        self.devices.append(device)
        size = round(seconds * SAMPLE_RATE)
        yield quiet(seconds)  # while it opens
        take = self.takes.pop(0)
        for start in range(0, len(take), size):
            yield take[start : start + size]
        while True:
            yield quiet(seconds)


class User:
    """In the place of the terminal: gives ``answers`` in turn. An exception among them is raised.

    STOPS is Enter, and Enter once more after the first second of the take.
    """

    STOPS = "Enter twice"

    def __init__(self, *answers: str | BaseException) -> None:
        self.answers, self.pieces_left = list(answers), None

    def ask(self, question: str) -> str:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        self.pieces_left = 10 if answer == self.STOPS else None
        return "" if answer == self.STOPS else answer

    def stopped(self) -> bool:
        if self.pieces_left is None:
            return False
        self.pieces_left -= 1
        return self.pieces_left == 0
