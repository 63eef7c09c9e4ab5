"""Rooms: reverberation time by a Schroeder integral of the test's own, the direct sound first and in its place."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.augmentation import augmentation
from velocity.audio import SAMPLE_RATE
from velocity.data.augmentation.rooms import Room, reverberate, reverberation_time, rooms_from, simulate_room

DIRECT_ENDS = 64  # samples after the direct sound: its filter has rung out, echoes begin to count


def decay_seconds(response):
    """RT60 from where the backward integral of the energy passes -5 and -25 dB."""
    energy = np.flip(np.cumsum(np.flip(response.astype(np.float64) ** 2)))
    level = 10 * np.log10(energy / energy[0])
    return 3 * (np.argmax(level < -25) - np.argmax(level < -5)) / SAMPLE_RATE


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rt60", [0.2, 0.35, 0.5])
def test_a_simulated_room_has_the_reverberation_time_asked_for(rt60, seed):
    room = simulate_room((rt60, rt60), [7, seed])
    assert decay_seconds(room.response[room.direct + DIRECT_ENDS :]) == pytest.approx(rt60, rel=0.1)


def test_reverberation_time_of_a_known_decay():
    random = np.random.default_rng(0)
    for seconds in (0.15, 0.4, 1.2):
        t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        response = random.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
        assert reverberation_time(response) == pytest.approx(seconds, rel=0.1)


def test_the_direct_sound_is_first_and_in_its_place():
    silence = np.zeros(2_000, np.float32)
    click = np.concatenate([silence, np.ones(1, np.float32), silence])
    for seed in range(8):
        output = np.abs(reverberate(click, simulate_room((0.2, 0.5), [3, seed])))
        assert output[2_000] > 0.5 * output.max()  # two echoes may meet and be louder
        assert output[: 2_000 - 41].max() < 0.03 * output[2_000]  # before it only what the high-pass at 10 Hz leaves
        assert output[2_041:].max() > 0.02 * output[2_000]  # and echoes after


def test_speech_keeps_its_length_and_its_power(speech):
    for seed in range(4):
        output = reverberate(speech, simulate_room((0.3, 0.5), [11, seed]))
        assert output.shape == speech.shape
        assert output.dtype == np.float32
        assert np.mean(output**2) == pytest.approx(np.mean(speech**2), rel=1e-4)
        assert np.abs(output - speech).max() > 0.01


@given(st.integers(1, 30_000), st.integers(1, 20_000), st.integers(0, 2**32))
def test_any_length_in_any_room(length, taps, seed):
    random = np.random.default_rng(seed)
    samples, response = (random.standard_normal(n, dtype=np.float32) for n in (length, taps))
    output = reverberate(samples, Room(response, int(random.integers(taps))))
    assert output.shape == samples.shape
    assert output.dtype == np.float32
    assert np.isfinite(output).all()


def test_rooms_follow_from_the_seed_alone_and_differ():
    settings = augmentation(simulated_rooms=4, room_rt60=(0.2, 0.3))
    draw, again = rooms_from(settings, 5), rooms_from(settings, 5)
    drawn = [draw(np.random.default_rng(seed)).response.tobytes() for seed in range(30)]
    assert drawn == [again(np.random.default_rng(seed)).response.tobytes() for seed in range(30)]
    assert len(set(drawn)) == 4


def test_recorded_responses_of_any_rate_are_aligned_by_their_peak(tmp_path, speech):
    response = np.zeros(9_600)
    response[[960, 1_920, 4_800]] = 0.8, 0.3, 0.1  # 20, 40 and 100 ms at 48 kHz
    soundfile.write(tmp_path / "hall.wav", response, 48_000, "FLOAT")
    room = rooms_from(augmentation(room_source=str(tmp_path)), 1)(np.random.default_rng(0))
    assert room.direct == 320
    output = reverberate(speech, room)
    expected = speech.astype(np.float64)
    expected[320:] += 0.375 * speech[:-320]
    expected[1_280:] += 0.125 * speech[:-1_280]
    expected *= np.sqrt(np.mean(speech**2) / np.mean(expected**2))
    np.testing.assert_allclose(output, expected, atol=0.005)
