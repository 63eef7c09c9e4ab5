"""Word and character error rates with their uncertainty over utterances.

Counts come from jiwer's minimum-edit alignment; the interval is the percentile bootstrap over utterances of Bisani and
Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.evaluation.testset import Utterance

NORMALIZER = "velocity-english"  # velocity.text.normalize, applied to reference and hypothesis alike


@dataclass(frozen=True)
class Score:
    """Edit counts, one entry an utterance: four (utterances,) int64 arrays."""

    word_errors: np.ndarray
    words: np.ndarray
    character_errors: np.ndarray
    characters: np.ndarray

    @property
    def wer(self) -> float:
        return float(self.word_errors.sum() / self.words.sum())

    @property
    def cer(self) -> float:
        return float(self.character_errors.sum() / self.characters.sum())

    def __getitem__(self, chosen: np.ndarray) -> Score:
        """The utterances of a mask or an index array."""
        return Score(*(counts[chosen] for counts in vars(self).values()))


def score(references: Sequence[str], hypotheses: Sequence[str]) -> Score:
    """Count the edits that turn each reference into its hypothesis, both normalised already.

    An empty reference counts every hypothesis word as inserted. Raises VelocityError when there is no reference word.
    """
    import jiwer

    counts = np.zeros((4, len(references)), dtype=np.int64)
    for column, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        words = jiwer.process_words(reference, hypothesis)
        characters = jiwer.process_characters(reference, hypothesis)
        counts[:, column] = _edits(words), len(reference.split()), _edits(characters), len(reference)
    if not counts[1].sum():
        raise VelocityError("the references contain no words")
    return Score(*counts)


def _edits(alignment: Any) -> int:
    return alignment.substitutions + alignment.deletions + alignment.insertions


def bootstrap(errors: np.ndarray, totals: np.ndarray, resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of ``errors.sum() / totals.sum()`` over ``resamples`` draws of the utterances."""
    generator = np.random.default_rng(seed)
    rates = np.empty(resamples)
    for resample in range(resamples):  # one at a time: a matrix of draws would not fit for large test sets
        drawn = generator.integers(len(errors), size=len(errors))
        rates[resample] = errors[drawn].sum() / max(totals[drawn].sum(), 1)
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)


def summarize(scored: Score, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """The figures that metrics and commands show: rates as fractions, rounded to six places."""
    return {
        "wer": round(scored.wer, 6),
        "wer_ci95": [round(bound, 6) for bound in bootstrap(scored.word_errors, scored.words, resamples, seed)],
        "cer": round(scored.cer, 6),
        "cer_ci95": [
            round(bound, 6) for bound in bootstrap(scored.character_errors, scored.characters, resamples, seed)
        ],
        "utterances": len(scored.words),
        "words": int(scored.words.sum()),
    }


def measure_test_set(
    utterances: Sequence[Utterance], hypotheses: Sequence[str], resamples: int, seed: int
) -> dict[str, Any]:
    """The figures of ``summarize`` for the whole set and, under ``groups``, for each group its utterances name."""
    scored = score([utterance.text for utterance in utterances], hypotheses)
    metrics = summarize(scored, resamples, seed)
    groups = np.array([utterance.group or "" for utterance in utterances])
    named = sorted(set(groups) - {""})
    if named:
        metrics["groups"] = {group: summarize(scored[groups == group], resamples, seed) for group in named}
    return metrics
