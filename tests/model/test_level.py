"""The level of a recording does not reach the network, and what is far below it is silence."""

import numpy as np
import pytest
import torch

from velocity.audio import compute_mel_spectrogram
from velocity.model.level import DEEPEST, FAR, PAST, QUIETEST, LevelNormalisation, loudness


def speech(seconds: float = 6.0) -> np.ndarray:
    """(samples,) float32: bursts of harmonics, 0.3 of full scale at most."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    voice = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.15 * voice * (np.sin(2 * np.pi * 1.5 * time) > -0.4)).astype(np.float32)


def features(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(compute_mel_spectrogram(samples))).unsqueeze(0)


def levelled(mel: torch.Tensor, causal: bool) -> torch.Tensor:
    return LevelNormalisation(causal)(mel, torch.ones_like(mel[..., :1]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("decibels", [20, -10, -20, -30])
def test_gain_changes_nothing(causal, decibels):
    expected = levelled(features(speech()), causal)
    found = levelled(features(speech() * np.float32(10 ** (decibels / 20))), causal)
    audible = expected > -10.0  # 43 dB below the level; what is lower meets the floor of the logarithm
    assert (found - expected)[audible].abs().max() < 0.15


@pytest.mark.parametrize("causal", [False, True])
def test_a_second_talker_far_from_the_microphone_has_the_same_level(causal):
    near, far = speech(8.0), speech(8.0) * np.float32(0.1)
    mel = features(np.concatenate([near, far]))
    found = levelled(mel, causal)
    assert (found[0, 1300:1600] - levelled(features(near), causal)[0, 500:800]).abs().max() < 0.5


def test_silence_and_a_microphone_s_noise_are_not_raised():
    random = np.random.default_rng(0)
    faint = random.standard_normal(48_000).astype(np.float32) * np.float32(10 ** (-80 / 20))
    mel = features(np.concatenate([faint, speech()]))
    for causal in (False, True):
        assert levelled(mel, causal)[0, :250].max() < -5.0
        assert levelled(features(np.zeros(16_000, np.float32)), causal).max() < -9.0


def test_the_level_is_that_of_the_loudest_around_by_hand():
    mel = torch.full((1, 1000, 80), -9.0)
    mel[0, 500, 3] = 2.0
    found = LevelNormalisation(causal=True)(mel, torch.ones(1, 1000, 1))
    expected = torch.full((1000,), -9.0)  # before the peak: its own loudness
    expected[500 : 500 + PAST] = 2.0  # the loudest frame within reach
    expected[500 + PAST : 500 + FAR] = 2.0 - DEEPEST  # remembered, but raised
    assert torch.equal(found[0, :, 0], torch.full((1000,), -9.0) - expected)


def test_padding_is_quieter_than_anything():
    mel = torch.full((1, 20, 80), 5.0)
    peak = loudness(mel, (torch.arange(20) < 7).float()[None, :, None])
    assert peak[0, 0, :7].eq(5.0).all()
    assert peak[0, 0, 7:].eq(2 * QUIETEST).all()
