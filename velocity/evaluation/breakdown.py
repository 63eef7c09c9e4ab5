"""Where the errors are: error rates by speaker and length, and correct words by confidence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np

from velocity.evaluation.wer import Score, summarize

if TYPE_CHECKING:
    from velocity.evaluation.testset import Utterance

SECONDS = (0, 1, 2, 3, 5, 10, 15, 20, 30)  # where the classes of length begin
CONFIDENCES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def by_speaker(utterances: Sequence[Utterance], scored: Score) -> dict[str, dict[str, Any]]:
    """The figures of ``summarize`` for each known speaker who said a word, worst first."""
    speakers = np.array([str(utterance.speaker or "") for utterance in utterances])
    found = {name: scored[speakers == name] for name in sorted(set(speakers) - {""})}
    figures = {name: summarize(part) for name, part in found.items() if part.words.sum()}
    return dict(sorted(figures.items(), key=lambda item: -item[1]["wer"]))


def by_length(lengths: Sequence[float], scored: Score) -> list[dict[str, Any]]:
    """The figures of ``summarize`` for each class of length that occurs, with ``seconds``: [from, below]."""
    classes = np.searchsorted(SECONDS, lengths, side="right") - 1
    rows = []
    for index, start in enumerate(SECONDS):
        part = scored[classes == index]
        if part.words.sum():
            end = SECONDS[index + 1] if index + 1 < len(SECONDS) else None
            rows.append({"seconds": [start, end], **summarize(part)})
    return rows


def by_confidence(
    references: Sequence[str], hypotheses: Sequence[str], confidences: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
    """The share ``correct`` of the recognised words whose confidence is from ``confidence[0]`` to below the other.

    With an informative confidence ``correct`` rises from row to row; with a calibrated one it lies between the bounds.
    """
    given, correct = [], []
    for reference, hypothesis, values in zip(references, hypotheses, confidences, strict=True):
        if len(values) == len(hypothesis.split()):
            given += values
            correct += is_correct(reference, hypothesis)
    classes = np.searchsorted(CONFIDENCES, given, side="right") - 1
    rows = []
    for index, start in enumerate(CONFIDENCES):
        chosen = np.array(correct)[classes == index] if given else np.empty(0)
        if len(chosen):
            end = CONFIDENCES[index + 1] if index + 1 < len(CONFIDENCES) else 1.0
            share = round(float(chosen.mean()), 6)
            rows.append({"confidence": [start, end], "words": len(chosen), "correct": share})
    return rows


def is_correct(reference: str, hypothesis: str) -> list[bool]:
    """For each word of the hypothesis, whether the alignment finds it in the reference."""
    return [word == recognised for word, recognised in aligned(reference, hypothesis) if recognised]


def aligned(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of a reference word and a hypothesis word, "" where one has no counterpart: jiwer's alignment."""
    output = jiwer.process_words(reference, hypothesis)
    pairs = []
    for chunk in output.alignments[0]:
        left = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        right = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(left, right, fillvalue="")
    return pairs
