"""Automatic gain control: a voice becomes quieter because its talker turns away, or another one, farther from the
microphone, takes over.

The network takes the level of the loudest sound within a second and a half out of its features
(``velocity.model.level``), so the quieter voice is too quiet for it until the louder one is that far away. Here the
level of the voices is followed through a recording, and quieter parts are raised to the loudest.
"""

from __future__ import annotations

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.recognition.segmentation import VOICE_STEP

STEP = round(VOICE_STEP * SAMPLE_RATE)  # samples
VOICED = 0.7  # periodicity
TOGETHER = 3  # voiced steps that have the same level
RESOLUTION = 0.25  # nats of power, 1.1 dB
LEAST, DEEPEST = 2.5, 6.0  # nats, 11 and 26 dB: smaller changes are left as they are, and nothing is raised further
SHARE = 0.8  # of the voiced steps that are quieter than the level
CHANGE = 10.0  # nats: what a change of the level costs, as much as half a second of speech that is 20 dB too quiet
SILENT = 1e-10  # power


def control_gain(samples: np.ndarray, periodicity: np.ndarray) -> np.ndarray:
    """(samples,) float32 at 16 kHz, and the ``periodicity`` of each 20 ms of it → (samples,) float32, its quieter parts
    raised to the level of its loudest one. Without a change of level ``samples`` themselves."""
    padded = np.zeros(len(periodicity) * STEP, dtype=np.float32)
    padded[: len(samples)] = samples
    loudness = np.log(np.square(padded.reshape(-1, STEP)).mean(axis=1, dtype=np.float64) + SILENT)
    voiced = np.flatnonzero(periodicity > VOICED)
    if len(voiced) <= TOGETHER:
        return samples
    levels = voice_levels(loudness[voiced])
    gains = levels.max() - levels
    gains[gains < LEAST] = 0.0
    changes = np.flatnonzero(np.diff(gains)) + 1
    if not len(changes):
        return samples
    gain = np.full(len(loudness), gains[0])
    for change in changes:
        before, after = voiced[change - 1] + 1, voiced[change] + 1
        quietest = before + int(loudness[before:after].argmin())
        gain[quietest:] = gains[change]
    middles = (np.arange(len(gain)) + 0.5) * STEP
    return (samples * np.exp(np.interp(np.arange(len(samples)), middles, gain) / 2)).astype(np.float32)


def voice_levels(loudness: np.ndarray) -> np.ndarray:
    """(steps,) the loudness of voiced steps in nats of power → (steps,) their level: constant but for few changes.

    The level is a quantile of the loudness (Koenker & Bassett 1978), and each change has a cost: the best piecewise
    constant sequence is found by dynamic programming, exactly (Viterbi).
    """
    levels = loudness.max() - np.arange(0.0, DEEPEST + RESOLUTION, RESOLUTION)
    above = np.maximum(loudness, levels[-1] - DEEPEST)[:, None] - levels  # (steps, levels)
    costs = np.add.reduceat(np.maximum(SHARE * above, (SHARE - 1) * above), np.arange(0, len(above), TOGETHER))
    total, sources = costs[0], []
    for cost in costs[1:]:
        best = int(total.argmin())
        change = total > total[best] + CHANGE
        sources.append(np.where(change, best, np.arange(len(levels))))
        total = np.where(change, total[best] + CHANGE, total) + cost
    path = [int(total.argmin())]
    for source in reversed(sources):
        path.append(int(source[path[-1]]))
    return np.repeat(levels[path[::-1]], TOGETHER)[: len(loudness)]
