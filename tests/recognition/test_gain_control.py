"""The level of a voice is followed where it changes, and only there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tone_model import speak
from velocity.audio import SAMPLE_RATE
from velocity.recognition import gain_control
from velocity.recognition.gain_control import CHANGE, DEEPEST, RESOLUTION, SHARE, TOGETHER, control_gain, voice_levels
from velocity.recognition.offline import VelocityASR
from velocity.recognition.segmentation import periodicity


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of a quarter of a second, each with a loudness of its own, and short pauses."""
    random, time = np.random.default_rng(seed), np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * 120 * number * time) / number for number in range(1, 12))
    loudness = np.repeat(random.uniform(0.4, 1.0, len(time)), SAMPLE_RATE // 4)[: len(time)]
    syllable = np.minimum(1.0, 1.2 * np.sin(np.pi * (4 * time % 1)))
    return (0.1 * harmonics * loudness * syllable + 1e-5 * random.standard_normal(len(time))).astype(np.float32)


def controlled(samples: np.ndarray) -> np.ndarray:
    return control_gain(samples, periodicity(samples))


def decibels(samples: np.ndarray) -> float:
    return 10 * np.log10(np.square(samples).mean())


def parts(*gains: float, seconds: float = 2.0) -> list[np.ndarray]:
    """The same voice, as loud as ``gains`` in decibels one after the other."""
    return [10 ** (gain / 20) * voice(seconds) for gain in gains]


@pytest.mark.parametrize("gains", [(0, -20), (-20, 0), (0, -20, 0), (-12, 0, -24), (0, -15, 0, -15)])
def test_quieter_parts_become_as_loud_as_the_loudest(gains: tuple[float, ...]) -> None:
    found = np.split(controlled(np.concatenate(parts(*gains))), len(gains))
    levels = [decibels(part) for part in found]
    assert max(levels) - min(levels) < 1.5
    assert max(levels) == pytest.approx(decibels(voice(2.0)), abs=1.0)  # nothing becomes quieter, or too loud


def test_the_voice_is_the_same_but_for_its_gain() -> None:
    loud, quiet = parts(0, -20)
    found = controlled(np.concatenate([loud, quiet]))
    border = SAMPLE_RATE // 4  # the gain changes in the pause between two syllables
    assert np.array_equal(found[: len(loud) - border], loud[:-border])
    rest = found[len(loud) + border :] / quiet[border:]
    assert rest == pytest.approx(rest[0], rel=1e-5)
    assert 20 * np.log10(rest[0]) == pytest.approx(20, abs=1.1)  # as exact as RESOLUTION


def test_a_voice_far_below_is_raised_no_further_than_the_limit() -> None:
    _, quiet = np.split(controlled(np.concatenate(parts(0, -45))), 2)
    assert 20 < decibels(quiet) - decibels(parts(-45)[0]) <= 10 * DEEPEST / np.log(10)


@pytest.mark.parametrize(
    "samples",
    [
        voice(4.0),
        voice(4.0) * np.geomspace(1, 0.3, 4 * SAMPLE_RATE).astype(np.float32),  # towards the end of a sentence: -10 dB
        np.concatenate([voice(2.0), 0.4 * voice(2.0)]),  # -8 dB
        np.concatenate([voice(2.0), 0.1 * voice(0.25), voice(2.0)]),  # a quiet word
        np.concatenate([voice(2.0), 0.003 * np.random.default_rng(0).standard_normal(32_000)]).astype(np.float32),
        np.zeros(SAMPLE_RATE, dtype=np.float32),
        np.ones(1, dtype=np.float32),
    ],
    ids=["steady", "falling", "lower", "word", "noise after it", "silence", "sample"],
)
def test_what_is_no_change_of_level_is_left_as_it_is(samples: np.ndarray) -> None:
    assert controlled(samples) is samples


@pytest.mark.parametrize("gain", [-30, -10, 15])
def test_the_gain_of_the_whole_does_not_matter(gain: float) -> None:
    samples, factor = np.concatenate(parts(0, -20)), 10 ** (gain / 20)
    assert controlled(factor * samples) == pytest.approx(factor * controlled(samples), rel=1e-5)


@settings(max_examples=50)
@given(st.lists(st.floats(min_value=-9, max_value=0), min_size=1, max_size=6 * TOGETHER))
def test_the_levels_are_the_best_of_all(loudness: list[float]) -> None:
    values = np.array(loudness)
    groups = [values[first : first + TOGETHER] for first in range(0, len(values), TOGETHER)]
    levels = values.max() - np.arange(0, DEEPEST + RESOLUTION, RESOLUTION)

    def cost(group: np.ndarray, level: float) -> float:
        above = group - level
        return float(np.maximum(SHARE * above, (SHARE - 1) * above).sum())

    every = np.array([[cost(group, level) for level in levels] for group in groups])
    best = np.inf
    for cuts in range(2 ** (len(groups) - 1)):  # every way to part the groups
        borders = [0, *(i for i in range(1, len(groups)) if cuts >> (i - 1) & 1), len(groups)]
        fits = [every[first:end].sum(0).min() for first, end in pairwise(borders)]
        best = min(best, sum(fits) + CHANGE * (len(fits) - 1))

    found = voice_levels(values)
    chosen = found[::TOGETHER]
    own = sum(cost(group, level) for group, level in zip(groups, chosen, strict=True))
    assert own + CHANGE * np.count_nonzero(np.diff(chosen)) == pytest.approx(best, abs=1e-9)


def test_the_recogniser_gets_the_controlled_samples(
    model: VelocityASR, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gain_control, "VOICED", 0.0)  # the model's tones are no voices
    seen = []
    infer = VelocityASR._infer
    monkeypatch.setattr(
        VelocityASR, "_infer", lambda self, samples, head: seen.append(samples) or infer(self, samples, head)
    )
    spoken = speak("the quick brown fox's tail jumps over", folder)
    middle = len(spoken) // 2
    text = model.transcribe(np.concatenate([spoken[:middle], 0.1 * spoken[middle:]]))
    assert text == model.transcribe(spoken)
    assert decibels(seen[0][middle:]) == pytest.approx(decibels(seen[1][middle:]), abs=1.5)
