"""SpecAugment's masks: bounded, rectangular, filled with what they were given, and nothing else is touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.augmentation import augmentation
from velocity.data.distortion import Distortion

FILL = -np.arange(1, 81, dtype=np.float32)  # no feature has these values


@given(
    frames=st.integers(1, 3_000),
    time=st.tuples(st.integers(0, 4), st.floats(0, 1)),
    bins=st.tuples(st.integers(0, 4), st.integers(0, 80)),
    seed=st.integers(0, 2**32),
)
def test_masks_are_bounded_rectangles_of_the_fill(frames, time, bins, seed):
    features = np.random.default_rng(seed).uniform(0, 1, (frames, 80)).astype(np.float32)
    before = features.copy()
    settings = augmentation(
        time_masks=time[0], time_mask_share=time[1], frequency_masks=bins[0], frequency_mask_bins=bins[1]
    )
    masked = Distortion(settings, 1).mask(features, FILL, np.random.default_rng(seed))
    assert (features == before).all()  # a copy
    assert masked.dtype == np.float32
    hidden = masked != features
    assert (masked[hidden] == np.broadcast_to(FILL, masked.shape)[hidden]).all()
    rows, columns = hidden.all(axis=1), hidden.all(axis=0)
    if not columns.all():  # else every frame is hidden anyway
        assert rows.sum() <= time[0] * int(frames * time[1])
        assert (hidden == rows[:, None] | columns).all()
    if not rows.all():
        assert columns.sum() <= bins[0] * bins[1]


def test_one_mask_of_each_kind_takes_every_width_up_to_its_longest_and_every_place():
    settings = augmentation(time_masks=1, time_mask_share=0.1, frequency_masks=1, frequency_mask_bins=8)
    distortion = Distortion(settings, 1)
    random, features = np.random.default_rng(0), np.ones((100, 80), np.float32)
    widths, bands, hidden = set(), set(), np.zeros((100, 80))
    for _ in range(600):
        masked = distortion.mask(features, FILL, random) != features
        widths.add(int(masked.all(axis=1).sum()))
        bands.add(int(masked.all(axis=0).sum()))
        hidden += masked
    assert widths == set(range(11))
    assert bands == set(range(9))
    assert hidden.min() > 0
    assert hidden.mean() / 600 == pytest.approx(0.05 + 0.05, abs=0.01)  # half of the longest, of either kind
