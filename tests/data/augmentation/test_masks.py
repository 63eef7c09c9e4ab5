"""SpecAugment's masks: bounded, rectangular, zero, within the utterance's length, and nothing else is touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.augmentation import augmentation
from velocity.data.distortion import masked


@given(
    lengths=st.lists(st.integers(1, 800), min_size=1, max_size=4),
    time=st.tuples(st.integers(0, 4), st.floats(0, 1)),
    bins=st.tuples(st.integers(0, 4), st.integers(0, 80)),
    seed=st.integers(0, 2**32),
)
def test_masks_are_bounded_rectangles_of_zeros(lengths, time, bins, seed):
    torch.manual_seed(seed)
    features = torch.rand(len(lengths), max(lengths), 80) + 1.0
    before = features.clone()
    settings = augmentation(
        time_masks=time[0], time_mask_share=time[1], frequency_masks=bins[0], frequency_mask_bins=bins[1]
    )
    found = masked(settings, features, torch.tensor(lengths))
    assert torch.equal(features, before)  # a copy
    hidden = found == 0
    assert torch.equal(found[~hidden], features[~hidden])
    for length, each in zip(lengths, hidden, strict=True):
        rows, columns = each[:length].all(1), each.all(0)
        if not columns.all():  # else every frame is hidden anyway
            assert rows.sum() <= time[0] * (int(length * time[1]) + 1)
            assert torch.equal(each[:length], rows[:, None] | columns)
        if not rows.all():
            assert columns.sum() <= bins[0] * bins[1]


def test_one_mask_of_each_kind_takes_every_width_up_to_its_longest_and_every_place():
    torch.manual_seed(0)
    settings = augmentation(time_masks=1, time_mask_share=0.1, frequency_masks=1, frequency_mask_bins=8)
    hidden = masked(settings, torch.ones(600, 100, 80), torch.full((600,), 100)) == 0
    assert set(hidden.all(2).sum(1).tolist()) == set(range(11))
    assert set(hidden.all(1).sum(1).tolist()) == set(range(9))
    assert hidden.any(0).all()
    assert hidden.float().mean() == pytest.approx(0.05 + 0.05, abs=0.01)  # half of the longest, of either kind


def test_utterances_of_a_batch_have_masks_of_their_own():
    torch.manual_seed(0)
    hidden = masked(augmentation(time_masks=2, frequency_masks=2), torch.ones(8, 400, 80), torch.full((8,), 400)) == 0
    assert len({each.numpy().tobytes() for each in hidden}) == 8
