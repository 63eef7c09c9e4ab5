"""A take ends by itself, keeps its surroundings, and is judged by its level."""

from __future__ import annotations

import numpy as np
import pytest

from tests.commands.microphones import Microphone, quiet, voice
from velocity.audio import SAMPLE_RATE
from velocity.commands import takes
from velocity.commands.takes import PIECE, judge, record


def test_a_take_ends_after_a_second_and_a_half_of_quiet() -> None:
    spoken = np.concatenate([quiet(2), voice(3), quiet(1), voice(2)])  # a pause of a second does not end it
    taken = record(Microphone(spoken)(PIECE), 60, lambda: False)
    assert 8 + 1.4 <= len(taken) / SAMPLE_RATE <= 8 + 2.2
    first = len(quiet(PIECE)) + 2 * SAMPLE_RATE
    assert np.array_equal(taken[first : first + 3 * SAMPLE_RATE], voice(3))


def test_a_pause_in_the_middle_of_a_long_sentence_does_not_end_it() -> None:
    spoken = np.concatenate([voice(2), quiet(2.3), voice(4)])
    assert len(record(Microphone(spoken)(PIECE), 30, lambda: False)) / SAMPLE_RATE < 4.5
    taken = record(Microphone(spoken)(PIECE), 90, lambda: False)
    assert 8.3 + 1.4 <= len(taken) / SAMPLE_RATE <= 8.3 + 2.2


def test_noise_as_loud_as_the_voice_may_be_a_voice() -> None:
    whispered = np.random.default_rng(2).normal(0, 3000, 3 * SAMPLE_RATE).astype(np.int16)
    taken = record(Microphone(np.concatenate([voice(3), whispered, voice(1)]))(PIECE), 40, lambda: False)
    assert len(taken) / SAMPLE_RATE > 7


def test_a_take_ends_with_the_key_and_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    presses = iter([False, False, True])
    taken = record(Microphone(voice(4))(PIECE), 60, lambda: next(presses))
    assert len(taken) == round(3 * PIECE * SAMPLE_RATE)
    monkeypatch.setattr(takes, "LONGEST", 8)
    endless = record(Microphone(voice(20))(PIECE), 60, lambda: False)
    assert len(endless) == 8 * SAMPLE_RATE
    assert not judge(endless, 60).kept


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
