"""Histograms against all the values at once, and ranges against what they are defined to be."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from velocity.quantization.histogram import BINS, LEVELS, UNSEEN, Histogram


def seen(*pieces: torch.Tensor) -> Histogram:
    histogram = Histogram()
    for piece in pieces:
        histogram.add(piece)
    return histogram


@given(st.permutations(range(5)))
def test_counts_do_not_depend_on_the_order(order):
    torch.manual_seed(0)
    pieces = [torch.randn(3, 50) * scale for scale in (0.001, 0.1, 1.0, 3.0, 70.0)]
    found, at_once = seen(*(pieces[place] for place in order)), seen(torch.cat(pieces))
    assert found.reach == at_once.reach == 2.0 ** math.ceil(math.log2(torch.cat(pieces).abs().max()))
    assert found.counts.sum() == 5 * 150
    # Two bins become one exactly, but a value that lies on a border may be counted on either side of it.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(at_once.counts)).max() <= 1
    values = torch.cat(pieces)
    assert (found.low, found.high) == (min(0.0, values.min().item()), max(0.0, values.max().item()))


def test_percentile_is_that_of_the_values():
    torch.manual_seed(1)
    values = torch.randn(50_000) + 0.3
    histogram = seen(values)
    for percentile in (90.0, 99.0, 99.9):
        low, high = histogram.percentile(percentile)
        expected = np.percentile(values.numpy(), [100 - percentile, percentile])
        assert np.abs(np.array([low, high]) - expected).max() < 4 * 2 * histogram.reach / BINS + 0.02
        assert histogram.outside(low, high) == pytest.approx(2 * (1 - percentile / 100), rel=0.1)


def test_zero_is_in_every_range():
    for values in (torch.full((9,), 3.0), torch.full((9,), -3.0), torch.zeros(9), torch.linspace(2.0, 3.0, 99)):
        histogram = seen(values)
        for low, high in (histogram.percentile(99.0), histogram.entropy(), (histogram.low, histogram.high)):
            assert low <= 0 <= high


def slow_divergence(histogram: Histogram, low: float, high: float) -> float:
    """As ``Histogram.divergence``, a bin at a time and in the words of its definition."""
    width = 2 * histogram.reach / BINS
    bins = [(-histogram.reach + (index + 0.5) * width, count) for index, count in enumerate(histogram.counts)]
    kept = [(middle, count) for middle, count in bins if low <= middle <= high]
    reference = [count for _, count in kept]
    reference[0] += sum(count for middle, count in bins if middle < low)
    reference[-1] += sum(count for middle, count in bins if middle > high)
    levels: dict[int, list[float]] = {}
    for middle, count in kept:
        levels.setdefault(round((middle - low) / (high - low) * (LEVELS - 1)), []).append(count)
    quantised = []
    for counts in levels.values():
        filled = sum(count > 0 for count in counts)
        quantised += [sum(counts) / filled if count > 0 else 0.0 for count in counts]
    total, mass = sum(reference), sum(quantised)
    return sum(
        p / total * math.log((p / total) / max(q / mass, UNSEEN))
        for p, q in zip(reference, quantised, strict=True)
        if p > 0
    )


@pytest.mark.parametrize(("low", "high"), [(-4.0, 4.0), (-1.0, 2.5), (0.0, 3.0), (-2.0, 0.0)])
def test_divergence_is_what_it_is_defined_to_be(low, high):
    torch.manual_seed(2)
    histogram = seen(torch.randn(3000))
    assert histogram.divergence(low, high) == pytest.approx(slow_divergence(histogram, low, high), rel=1e-9)


def test_entropy_leaves_out_a_stray_value_and_keeps_what_is_common():
    torch.manual_seed(3)
    values = torch.randn(100_000).abs()
    histogram = seen(values, torch.tensor([90.0]))
    low, high = histogram.entropy()
    assert low == 0.0
    assert 2.5 < high < 20.0
    assert histogram.divergence(low, high) < histogram.divergence(histogram.low, histogram.high)
    uniform = seen(torch.linspace(-1.0, 1.0, 100_001))
    assert uniform.entropy() == pytest.approx((-1.0, 1.0), abs=0.05)
