"""Paired statistics of two models that were measured on the same speech and in the same rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from velocity.evaluation.wer import Score

RULE_OF_THREE = 3.0  # -ln 0.05: n draws miss a kind of share 3/n in 5 of 100 cases (Hanley and Lippman-Hand, 1983)


@dataclass(frozen=True)
class Difference:
    """The word error rates of both models on one test set, as fractions, and their difference."""

    champion: float
    candidate: float
    interval: tuple[float, float]  # 95 %, of the difference
    p_value: float  # two-sided
    utterances: int
    words: int

    @property
    def difference(self) -> float:
        return self.candidate - self.champion

    @property
    def significant(self) -> bool:
        low, high = self.interval
        return not low <= 0.0 <= high

    @property
    def at_most(self) -> float:
        """The largest difference that the test set does not rule out.

        This is the upper end of the interval, but at least 3/n above the difference: resampling cannot see kinds of
        speech that are missing from the n utterances. By the rule of three such kinds may make up 3/n of the speech,
        and the candidate could get every word of them wrong.
        """
        return max(self.interval[1], self.difference + RULE_OF_THREE / self.utterances)


def paired_difference(champion: Score, candidate: Score, resamples: int, seed: int = 0) -> Difference:
    """The paired bootstrap over utterances of Bisani and Ney (ICASSP 2004): both are scored on the same draws.

    What makes an utterance hard for both cancels out. The p-value is twice the share of the resamples on the far side
    of 0, the observed one included (Davison and Hinkley 1997, 4.2.3), so it is never 0.
    """
    errors = candidate.word_errors - champion.word_errors
    words = champion.words
    generator = np.random.default_rng(seed)
    rates = np.empty(resamples)
    for resample in range(resamples):
        drawn = generator.integers(len(errors), size=len(errors))
        rates[resample] = errors[drawn].sum() / max(words[drawn].sum(), 1)
    low, high = np.percentile(rates, (2.5, 97.5))
    tail = min((rates <= 0).sum(), (rates >= 0).sum())
    p_value = min(1.0, float(2 * (tail + 1) / (resamples + 1)))
    return Difference(champion.wer, candidate.wer, (float(low), float(high)), p_value, len(words), int(words.sum()))


@dataclass(frozen=True)
class Ratio:
    """The candidate's processor time divided by the champion's: the median over rounds with its 95 % interval."""

    champion: float  # seconds of work a second of audio: medians
    candidate: float
    ratio: float
    interval: tuple[float, float]


def median_ratio(champion: Sequence[float], candidate: Sequence[float], clip_seconds: float) -> Ratio:
    """From the seconds of both in the same rounds; a ratio is taken within a round.

    The interval lies between order statistics (David and Nagaraja, "Order Statistics", 7.1): it assumes no
    distribution of the ratios, so one disturbed round has little influence, however slow it was.
    """
    ratios = np.sort(np.asarray(candidate) / np.asarray(champion))
    first = median_rank(len(ratios))
    interval = (float(ratios[first]), float(ratios[len(ratios) - 1 - first]))
    medians = (float(np.median(seconds)) / clip_seconds for seconds in (champion, candidate))
    return Ratio(*medians, float(np.median(ratios)), interval)


def median_rank(count: int) -> int:
    """The greatest k such that the k-th smallest and the k-th largest of ``count``, from 0, enclose the median at 95 %.

    0 for fewer than six, which cannot.
    """
    below, rank = 0.0, 0  # the probability that at most ``rank`` values lie below the median
    while (below := below + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    return max(rank - 1, 0)
