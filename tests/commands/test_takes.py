"""A take ends by itself, keeps its surroundings, and is judged by its level."""

from __future__ import annotations

import numpy as np
import pytest

from tests.commands.microphones import Microphone, quiet, voice
from velocity.audio import SAMPLE_RATE
from velocity.commands.takes import LONGEST, PIECE, judge, record


def test_a_take_ends_after_a_second_and_a_half_of_quiet() -> None:
    spoken = np.concatenate([quiet(2), voice(3), quiet(1), voice(2)])  # a pause of a second does not end it
    taken = record(Microphone(spoken)(PIECE), lambda: False)
    assert 8 + 1.4 <= len(taken) / SAMPLE_RATE <= 8 + 2.2
    assert np.array_equal(taken[-len(quiet(PIECE)) :], quiet(PIECE))
    first = len(quiet(PIECE)) + 2 * SAMPLE_RATE
    assert np.array_equal(taken[first : first + 3 * SAMPLE_RATE], voice(3))


def test_a_take_ends_with_the_key_and_after_a_minute() -> None:
    presses = iter([False, False, True])
    assert len(record(Microphone(voice(4))(PIECE), lambda: next(presses))) == pytest.approx(0.3 * SAMPLE_RATE, abs=1700)
    endless = record(Microphone(voice(70))(PIECE), lambda: False)
    assert len(endless) == pytest.approx(LONGEST * SAMPLE_RATE, abs=1700)
    assert not judge(endless, 40).kept


def test_half_a_second_around_the_speech_is_kept() -> None:
    verdict = judge(np.concatenate([quiet(3), voice(4), quiet(2)]), 60)
    assert verdict.kept
    assert verdict.advice == ""
    assert len(verdict.samples) / SAMPLE_RATE == pytest.approx(5.2, abs=0.2)
    assert verdict.samples.max() == voice(4).max()


CLIPPED = np.clip(voice(4).astype(np.int32) * 8, -32768, 32767).astype(np.int16)
A_LITTLE = voice(4)
A_LITTLE[::1000] = 32767


@pytest.mark.parametrize(
    ("samples", "kept", "advice"),
    [
        (np.zeros(0, dtype=np.int16), False, "No voice"),
        (np.zeros(32_000, dtype=np.int16), False, "No voice"),
        (quiet(4), False, "No voice"),
        (voice(1), False, "too short"),
        (voice(4, 0.003), False, "too quiet"),
        (voice(4, 0.012), True, "Rather quiet"),
        (CLIPPED, False, "clipped"),
        (A_LITTLE, True, "little clipped"),
        (voice(4, 0.9), True, ""),
    ],
    ids=["nothing", "zeros", "room", "short", "too quiet", "quiet", "clipped", "a little clipped", "loud"],
)
def test_advice(samples: np.ndarray, kept: bool, advice: str) -> None:
    verdict = judge(samples, 60)
    assert (verdict.kept, bool(verdict.advice)) == (kept, bool(advice))
    assert advice in verdict.advice
    assert "\n" not in verdict.advice
