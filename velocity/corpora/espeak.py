"""espeak-ng as a synthesiser: a hundred voices, robotic, 700 times faster than real time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from velocity.errors import VelocityError
from velocity.espeak import espeak

WORDS_A_MINUTE = (165, 220)  # of a voice
PITCH = (35, 65)  # of a voice, espeak-ng's 0 to 100; its variant shifts and scales it


@dataclass(frozen=True)
class EspeakVoice:
    """``name`` is espeak-ng's (``en-gb+f3``); the pitch and the speed are this voice's own."""

    speaker: str
    name: str
    pitch: float
    words_a_minute: float

    def speak(self, text: str, speed: float, pitch: float, seed: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 in [-1, 1] and their rate in Hz; ``speed`` and ``pitch`` multiply the voice's own."""
        library = espeak()
        return library.speak(text, self.name, self.words_a_minute * speed, self.pitch * pitch, seed), library.rate


def espeak_voices(accents: list[str], speakers: dict[str, list[str]], count: int, seed: int) -> list[EspeakVoice]:
    """``count`` different voices: every variant once before any has a second accent.

    ``speakers`` is a list of variants by kind of speaker. Raises VelocityError when there are fewer voices.
    """
    variants = [(speaker, variant) for speaker, variants in speakers.items() for variant in variants]
    most = len(variants) * len(accents)
    if count > most:
        raise VelocityError(f"voices: {count} asked for, but the corpus description has {most}")
    voices = []
    for index in range(count):
        turn, place = divmod(index, len(variants))
        speaker, variant = variants[place]
        random = np.random.default_rng([seed, 1, index])
        name = f"{accents[(place + turn) % len(accents)]}+{variant}"
        voices.append(EspeakVoice(speaker, name, random.uniform(*PITCH), random.uniform(*WORDS_A_MINUTE)))
    return voices
