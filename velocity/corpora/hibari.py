"""hibari as a synthesiser: one natural voice, 130 times faster than real time, turned into many.

Each speaker is that voice at another pitch, its formants moving along, at another pace and another brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from velocity.errors import VelocityError

SHIFT = (0.78, 1.28)  # of pitch and formants, from a deep man's to a child's; the voice itself is a woman's
PACE = (0.8, 1.2)
TILT = (-0.3, 0.5)  # coefficient of a one-zero filter: below 0 darker, above 0 brighter
RATE = 24_000  # Hz


@dataclass(frozen=True)
class HibariVoice:
    """Factors of pitch and of pace to the one voice there is, and the coefficient of the filter."""

    speaker: str
    shift: float
    pace: float
    tilt: float

    def speak(self, text: str, speed: float, pitch: float, seed: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 and their rate in Hz; ``speed`` and ``pitch`` multiply the voice's own."""
        shift = self.shift * pitch
        # Played at another rate the pitch moves and the pace with it, which is therefore asked for slower or faster.
        speech = _hibari()(text, speed=float(np.clip(self.pace * speed / shift, 0.5, 2.0)), seed=seed)
        speech[1:] -= self.tilt * speech[:-1]
        return speech, round(RATE * shift)


def hibari_voices(count: int, seed: int) -> list[HibariVoice]:
    """``count`` voices, spread evenly over the pitches."""
    voices = []
    for index, place in enumerate(np.linspace(0.0, 1.0, count)):
        random = np.random.default_rng([seed, 1, index])
        shift = SHIFT[0] * (SHIFT[1] / SHIFT[0]) ** float(place)
        voices.append(HibariVoice(f"hibari{index:03d}", shift, random.uniform(*PACE), random.uniform(*TILT)))
    return voices


@lru_cache(maxsize=1)
def _hibari() -> Any:
    try:
        from hibari import Hibari
    except ImportError as error:
        raise VelocityError("engine: hibari needs the package hibari-tts: pip install 'velocity-asr[train]'") from error

    return Hibari(threads=1)  # more would sum in another order
