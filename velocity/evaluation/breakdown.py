"""Where the errors are: error rates by speaker, by length, and of words by the confidence given to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jiwer
import numpy as np

from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import Score, summarize

SECONDS = (0, 1, 2, 3, 5, 10, 15, 20, 30)  # where the classes of length begin
CONFIDENCES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def by_speaker(utterances: Sequence[Utterance], scored: Score) -> dict[str, dict[str, Any]]:
    """The figures of ``summarize`` for each speaker that is known, worst first; none where a speaker said no word."""
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
    """Of the words heard with a confidence from ``confidence[0]`` to below ``confidence[1]``, how many were said.

    An informative confidence has ``correct`` rise from row to row; a calibrated one has it within the two.
    """
    given, correct = [], []
    for reference, hypothesis, values in zip(references, hypotheses, confidences, strict=True):
        if len(values) == len(hypothesis.split()):
            given += values
            correct += was_said(reference, hypothesis)
    classes = np.searchsorted(CONFIDENCES, given, side="right") - 1
    rows = []
    for index, start in enumerate(CONFIDENCES):
        said = np.array(correct)[classes == index] if given else np.empty(0)
        if len(said):
            end = CONFIDENCES[index + 1] if index + 1 < len(CONFIDENCES) else 1.0
            share = round(float(said.mean()), 6)
            rows.append({"confidence": [start, end], "words": len(said), "correct": share})
    return rows


def was_said(reference: str, hypothesis: str) -> list[bool]:
    """Of each word of the hypothesis, whether the alignment finds it in the reference."""
    return [said == heard for said, heard in aligned(reference, hypothesis) if heard]


def aligned(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of a reference word and a hypothesis word, "" where one has no counterpart: jiwer's alignment."""
    output = jiwer.process_words(reference, hypothesis)
    pairs = []
    for chunk in output.alignments[0]:
        said = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        heard = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        width = max(len(said), len(heard))
        pairs += zip([*said, *[""] * (width - len(said))], [*heard, *[""] * (width - len(heard))], strict=True)
    return pairs
