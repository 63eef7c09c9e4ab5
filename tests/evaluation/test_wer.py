"""Error rates against an edit distance written out by hand, and their intervals against theory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.errors import VelocityError
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import bootstrap, measure_test_set, score

TEXTS = st.lists(st.sampled_from(["a", "b", "bee", "c"]), max_size=6).map(" ".join)


def distance(source: list[str] | str, target: list[str] | str) -> int:
    """Levenshtein's recurrence."""
    row = list(range(len(target) + 1))
    for i, left in enumerate(source, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(target, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_counts_are_edit_distances(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = zip(*[("a", "a"), *pairs], strict=True)
    scored = score(references, hypotheses)
    words = [
        distance(reference.split(), hypothesis.split())
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    characters = [distance(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True)]
    assert scored.word_errors.tolist() == words
    assert scored.character_errors.tolist() == characters
    assert scored.wer == pytest.approx(sum(words) / sum(len(reference.split()) for reference in references))
    assert scored.cer == pytest.approx(sum(characters) / sum(map(len, references)))


def test_no_reference_word() -> None:
    with pytest.raises(VelocityError, match="no word"):
        score(["", ""], ["a", ""])


def test_interval_has_the_width_of_the_binomial() -> None:
    errors = np.random.default_rng(0).random(2000) < 0.1
    low, high = bootstrap(errors.astype(int), np.ones(2000, dtype=int), resamples=2000, seed=3)
    rate = errors.mean()
    half = 1.96 * np.sqrt(rate * (1 - rate) / 2000)
    assert low == pytest.approx(rate - half, abs=0.15 * half)
    assert high == pytest.approx(rate + half, abs=0.15 * half)


def test_interval_resamples_utterances_not_words() -> None:
    """Errors that come in bunches make the figure less certain than as many scattered ones."""
    words = np.full(100, 10)
    scattered, bunched = np.ones(100, dtype=int), np.repeat([10, 0], [10, 90])
    narrow, wide = (bootstrap(errors, words) for errors in (scattered, bunched))
    assert narrow == (0.1, 0.1)
    assert wide[1] - wide[0] > 0.1


def test_groups_are_scored_on_their_own() -> None:
    spoken = [("a b", "child"), ("c d", "adult"), ("e f", "child"), ("g", None)]
    utterances = [Utterance(str(n), None, text, group=group) for n, (text, group) in enumerate(spoken)]
    metrics = measure_test_set(utterances, ["a x", "c d", "e", "g"], resamples=10, seed=0)
    assert metrics["wer"] == pytest.approx(2 / 7, abs=1e-6)
    assert {name: (part["wer"], part["utterances"]) for name, part in metrics["groups"].items()} == {
        "adult": (0.0, 1),
        "child": (0.5, 2),
    }
    assert "groups" not in measure_test_set(utterances[3:], ["g"], resamples=10, seed=0)
