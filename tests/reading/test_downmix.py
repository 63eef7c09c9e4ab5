"""Channels that cancel each other lose no speech; others are averaged as before."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import soundfile

from tests.command import run
from tests.tone_model import speak, write_model
from velocity.audio import load_audio, read_blocks
from velocity.errors import VelocityWarning
from velocity.reading.downmix import Downmix

RATE = 16_000
RANDOM = np.random.default_rng(0)
SPEECH = (0.3 * RANDOM.standard_normal(12 * RATE) * np.abs(np.sin(np.arange(12 * RATE) / 3000))).clip(-1, 1)


def wav(*channels: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack(channels, axis=1).astype(np.float32), RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("other", [-1.0, -0.9, -1.1])
def test_channels_out_of_phase_give_one_of_them(other: float) -> None:
    with pytest.warns(VelocityWarning, match="channels cancel"):
        found = load_audio(wav(SPEECH, other * SPEECH))
    stronger = SPEECH if abs(other) <= 1 else other * SPEECH
    np.testing.assert_allclose(found, stronger.astype(np.float32), atol=1e-6)


def test_a_stretch_out_of_phase_is_kept_and_the_rest_averaged() -> None:
    left, right = SPEECH.copy(), 0.5 * SPEECH
    middle = slice(5 * RATE, 9 * RATE)
    right[middle] = -left[middle]
    with pytest.warns(VelocityWarning, match="channels cancel"):
        found = load_audio(wav(left, right))
    np.testing.assert_allclose(found[middle], left[middle], atol=1e-6)
    np.testing.assert_allclose(found[: 4 * RATE], 0.75 * left[: 4 * RATE], atol=1e-6)
    np.testing.assert_allclose(found[10 * RATE :], 0.75 * left[10 * RATE :], atol=1e-6)


def test_noise_in_the_room_does_not_hide_that_speech_cancels() -> None:
    noise = 0.02 * RANDOM.standard_normal((2, len(SPEECH)))
    with pytest.warns(VelocityWarning, match="channels cancel"):
        found = load_audio(wav(SPEECH + noise[0], -SPEECH + noise[1]))
    assert np.corrcoef(found, SPEECH)[0, 1] ** 2 > 0.9


@pytest.mark.parametrize(
    "channels",
    [
        (SPEECH, SPEECH),
        (SPEECH, np.zeros_like(SPEECH)),
        (SPEECH, SPEECH[::-1]),
        (SPEECH, np.roll(SPEECH, 8)),  # microphones 17 cm apart
        (SPEECH, -0.3 * SPEECH),
        (np.zeros(4000), np.zeros(4000)),
        (np.ones(3), -np.ones(3)),  # too short to tell
        tuple(RANDOM.standard_normal((8, RATE)) * 0.1),
    ],
)
def test_other_channels_are_averaged_without_a_word(channels: tuple[np.ndarray, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_audio(wav(*channels))
    np.testing.assert_allclose(found, np.mean(np.float32(channels), axis=0), atol=1e-6)


def test_the_channel_does_not_change_with_every_block() -> None:
    """Of two about equally strong ones the first chosen stays."""
    levels = 1 + 0.1 * np.sin(np.arange(len(SPEECH)) / 5000)
    found = Downmix(RATE)(np.stack([SPEECH * levels, -SPEECH / levels], axis=1))
    assert np.abs(found - SPEECH * levels).max() < 1e-6 or np.abs(found + SPEECH / levels).max() < 1e-6


def test_the_text_of_speech_out_of_phase(tmp_path, capsys) -> None:
    model = write_model(tmp_path / "onnx")
    spoken = speak("hello world", model)
    (tmp_path / "a.wav").write_bytes(wav(spoken, -spoken))
    _, out, error = run(capsys, "transcribe", tmp_path / "a.wav", "--model", model)
    assert out == "hello world\n"
    assert error == f"note: {tmp_path}/a.wav: its channels cancel each other, so that the strongest one is used alone\n"


def test_blocks_stay_blocks() -> None:
    with pytest.warns(VelocityWarning):
        blocks = list(read_blocks(wav(SPEECH, -SPEECH)))
    assert len(blocks) > 1
    assert max(map(len, blocks)) <= 1 << 16
