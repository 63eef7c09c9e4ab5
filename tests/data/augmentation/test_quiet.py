"""Quiet around and between utterances: the speech is there whole, and what is added is faint."""

import numpy as np

from tests.augmentation import only
from velocity.data.distortion import Distortion


def test_the_speech_is_whole_with_quiet_before_it_after_it_or_both():
    speech = np.full(1_600, 0.5, np.float32)
    distortion = Distortion(only(quiet=1.0, quiet_seconds=[0.2, 1.0]), 1)
    places = set()
    for seed in range(60):
        found = distortion.distort(speech, np.random.default_rng(seed))
        loud = np.flatnonzero(found == 0.5)
        assert found.dtype == np.float32
        assert len(loud) == 1_600 and loud[-1] - loud[0] == 1_599
        around = np.delete(found, loud)
        assert 0.2 * 16_000 <= len(around) <= 2 * 16_000
        assert np.sqrt(np.mean(around**2)) < 10 ** (-54 / 20)
        places.add((loud[0] > 0, loud[-1] < len(found) - 1))
    assert places == {(True, False), (False, True), (True, True)}


def test_a_share_of_the_utterances_has_it():
    speech = np.full(1_600, 0.5, np.float32)
    distortion = Distortion(only(quiet=0.25), 1)
    random = np.random.default_rng(0)
    longer = sum(len(distortion.distort(speech, random)) > 1_600 for _ in range(400))
    assert 70 <= longer <= 130
