"""What is claimed of a difference holds: beside theory, beside another computation, and over many drawn test sets."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.evaluation.wer import Score, bootstrap
from velocity.gate.statistics import Difference, median_rank, median_ratio, paired_difference


def scores(errors: np.ndarray, words: np.ndarray) -> Score:
    return Score(errors, words, errors, words)


def models(generator: np.random.Generator, worse: float = 0.0, utterances: int = 500) -> tuple[Score, Score]:
    """Two models with faults of their own, bursts among them; the second one's rate is higher by ``worse``."""
    words = generator.integers(3, 12, utterances)
    burst = generator.exponential(size=(2, utterances))
    rates = np.minimum(burst * np.array([[0.08], [0.08 + worse]]), 1.0)
    first, second = (generator.binomial(words, rate) for rate in rates)
    return scores(first, words), scores(second, words)


def test_the_interval_is_the_bootstrap_of_the_difference():
    first, second = models(np.random.default_rng(1), worse=0.02)
    result = paired_difference(first, second, resamples=500)
    assert result.interval == bootstrap(second.word_errors - first.word_errors, first.words, resamples=500)
    assert result.difference == pytest.approx(second.wer - first.wer)
    assert result.interval[0] < result.difference < result.interval[1]


def test_the_p_value_is_near_that_of_the_normal_distribution():
    for seed in range(5):
        first, second = models(np.random.default_rng(seed), worse=0.01)
        result = paired_difference(first, second, resamples=4000)
        errors, words = second.word_errors - first.word_errors, first.words
        deviation = np.sqrt(((errors - result.difference * words) ** 2).sum()) / words.sum()  # delta method, of a ratio
        expected = 2 * NormalDist().cdf(-abs(result.difference) / deviation)
        assert result.p_value == pytest.approx(expected, abs=0.03)


def test_of_equal_models_few_are_called_worse_and_of_worse_ones_few_are_not():
    found = {
        worse: [
            paired_difference(*models(np.random.default_rng([seed, 7]), worse), resamples=200).interval[0] > 0
            for seed in range(100)
        ]
        for worse in (0.0, 0.04)
    }
    assert np.mean(found[0.0]) <= 0.07  # 0.025 is meant; 100 draws of test sets may well give 0.05
    assert np.mean(found[0.04]) >= 0.9


@given(st.integers(1, 2000), st.floats(0, 0.5), st.floats(0, 0.5))
def test_no_test_set_rules_out_more_than_its_size_allows(utterances, champion, candidate):
    """A set on which all went alike is sure of nothing, however narrow its interval."""
    alike = Difference(champion, candidate, (candidate - champion,) * 2, 1.0, utterances, 7 * utterances)
    chance_to_miss = (1 - min(alike.at_most - alike.difference, 1)) ** utterances
    assert chance_to_miss <= 0.05  # of speech of a kind that makes up so much, and is all wrong


@given(st.integers(6, 300))
def test_the_ranks_enclose_the_median_at_95_percent_and_no_closer_ones_do(count):
    def coverage(rank: int) -> float:
        return 1 - 2 * sum(math.comb(count, below) for below in range(rank + 1)) / 2**count

    assert coverage(median_rank(count)) >= 0.95 > coverage(median_rank(count) + 1)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
def test_a_third_of_the_rounds_may_be_disturbed(seed, slower):
    generator = np.random.default_rng(seed)
    champion = generator.normal(1.0, 0.02, 61)
    candidate = slower * champion * generator.normal(1.0, 0.02, 61)
    disturbed = generator.permutation(61)
    champion[disturbed[:10]] *= 5
    candidate[disturbed[10:20]] *= 5
    result = median_ratio(champion, candidate, clip_seconds=10.0)
    assert result.ratio == pytest.approx(slower, rel=0.03)
    assert result.interval[0] <= result.ratio <= result.interval[1]
    assert result.candidate == pytest.approx(np.median(candidate) / 10.0)
