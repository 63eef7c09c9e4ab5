"""Quiet around and between utterances: the speech is there whole, and what is added is faint."""

import numpy as np
import pytest

from tests.augmentation import only

SPEECH = np.full(1_600, 0.5, np.float32)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_speech_is_whole_with_quiet_around_and_between(count):
    settings = only(quiet=1.0, joined=1.0, quiet_seconds=[0.2, 1.0])
    for seed in range(20):
        found = settings.join([SPEECH] * count, 0.7, np.random.default_rng(seed))
        loud = np.flatnonzero(found == 0.5)
        assert found.dtype == np.float32
        assert len(loud) == 1_600 * count
        between = np.diff(loud)[np.diff(loud) > 1] - 1
        assert len(between) == count - 1
        assert ((between >= 3_200) & (between <= 16_000)).all()
        assert abs(loud[0] + len(found) - 1 - loud[-1] - 0.7 * 16_000) <= 2
        assert np.sqrt(np.mean(np.delete(found, loud) ** 2)) < 10 ** (-54 / 20)


def test_shares_of_the_batches_are_joined_and_surrounded_and_none_gets_too_long():
    settings, random = only(quiet=0.25, joined=0.5, quiet_seconds=[0.2, 1.0]), np.random.default_rng(0)
    drawn = [settings.draw(9.0, random) for _ in range(400)]
    assert 70 <= sum(around > 0 for _, around in drawn) <= 130
    assert 170 <= sum(together > 1 for together, _ in drawn) <= 230
    assert {together for together, _ in drawn} == {1, 2, 3}
    assert {settings.draw(14.0, random)[0] for _ in range(50)} == {1, 2}
    assert {settings.draw(35.0, random)[0] for _ in range(50)} == {1}
    assert {only().draw(3.0, random) for _ in range(50)} == {(1, 0.0)}
