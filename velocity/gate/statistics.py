"""What is known of a difference between two models that were measured on the same speech, and in the same rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from velocity.evaluation.wer import Score

RULE_OF_THREE = 3.0  # -ln 0.05: what makes up more than 3/n is among n draws in 95 of 100 cases (Hanley et al., 1983)


@dataclass(frozen=True)
class Difference:
    """Of the candidate's word error rate from the champion's, on one test set. Rates are fractions."""

    champion: float
    candidate: float
    interval: tuple[float, float]  # 95 %, of the difference
    p_value: float  # two-sided: how often chance alone gives a difference this far from none
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
        """The difference that the test set rules out to exceed.

        The upper end of the interval; but resampling knows no utterance that was not drawn, and is sure of itself
        where a few utterances went alike. By the rule of three, 3/n of the speech may be of kinds that are not among
        n utterances, and there the candidate could have every word wrong: so it is 3/n above the difference at least.
        """
        return max(self.interval[1], self.difference + RULE_OF_THREE / self.utterances)


def paired_difference(champion: Score, candidate: Score, resamples: int, seed: int = 0) -> Difference:
    """The paired bootstrap over utterances of Bisani and Ney (ICASSP 2004): both are scored on the same draws.

    What makes an utterance hard for both cancels out. The p-value is twice the share of the resamples on the far side
    of 0, the observed one counted with them (Davison and Hinkley 1997, 4.2.3), so it is never 0.
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
    return Difference(
        champion=champion.wer,
        candidate=candidate.wer,
        interval=(float(low), float(high)),
        p_value=min(1.0, float(2 * (tail + 1) / (resamples + 1))),
        utterances=len(words),
        words=int(words.sum()),
    )


@dataclass(frozen=True)
class Ratio:
    """Of the candidate's processor time to the champion's: the median over rounds, and its 95 % interval."""

    champion: float  # seconds of work a second of audio: medians
    candidate: float
    ratio: float
    interval: tuple[float, float]


def median_ratio(champion: Sequence[float], candidate: Sequence[float], clip_seconds: float) -> Ratio:
    """From the seconds of both in the same rounds; a ratio is taken within a round.

    The interval lies between order statistics (David and Nagaraja, "Order Statistics", 7.1): it supposes nothing of
    how the ratios are distributed, so a round that something else disturbed counts as one that is high, however high.
    """
    ratios = np.sort(np.asarray(candidate) / np.asarray(champion))
    first = median_rank(len(ratios))
    return Ratio(
        champion=float(np.median(champion)) / clip_seconds,
        candidate=float(np.median(candidate)) / clip_seconds,
        ratio=float(np.median(ratios)),
        interval=(float(ratios[first]), float(ratios[len(ratios) - 1 - first])),
    )


def median_rank(count: int) -> int:
    """The greatest k such that the k-th smallest and the k-th largest of ``count``, from 0, enclose the median at 95 %.

    0 for fewer than six, which cannot.
    """
    below, rank = 0.0, 0  # the chance that less than ``rank`` + 1 of the values lie under the median
    while (below := below + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    return max(rank - 1, 0)
