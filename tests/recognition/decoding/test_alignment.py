"""Forced alignment against every path there is, and against the best path."""

from __future__ import annotations

import math
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.recognition.decoding.alignment import align
from velocity.recognition.decoding.greedy import best_alignment, best_path


@st.composite
def posteriors(draw: st.DrawFn, most: int) -> np.ndarray:
    frames = draw(st.integers(1, most))
    logits = np.array(draw(st.lists(st.floats(-4, 4), min_size=3 * frames, max_size=3 * frames))).reshape(frames, 3)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def score(log_probs: np.ndarray, path: np.ndarray, tokens: list[int]) -> float:
    classes = [tokens[label] if label >= 0 else 0 for label in path]
    return float(log_probs[np.arange(len(path)), classes].sum())


@settings(max_examples=60)
@given(posteriors(most=6), st.lists(st.integers(1, 2), max_size=4))
def test_no_path_that_writes_the_labels_is_more_probable(log_probs: np.ndarray, tokens: list[int]) -> None:
    paths = [
        path
        for path in product(range(3), repeat=len(log_probs))
        if [token for token, _ in groupby(path) if token] == tokens
    ]
    if not paths:
        with pytest.raises(ValueError, match="too few"):
            align(log_probs, tokens)
        return
    found = align(log_probs, tokens)
    best = max(log_probs[range(len(path)), path].sum() for path in paths)
    assert score(log_probs, found, tokens) == pytest.approx(best)
    # Each label is written by frames in a row, in order, and equal labels that follow have a blank between them.
    assert [label for label, _ in groupby(found) if label >= 0] == list(range(len(tokens)))
    assert [token for token, _ in groupby(tokens[i] if i >= 0 else 0 for i in found) if token] == tokens


@given(posteriors(most=40))
def test_the_best_path_aligns_its_own_labels(log_probs: np.ndarray) -> None:
    tokens = best_path(log_probs)[0].tolist()
    path = best_alignment(log_probs)
    assert [tokens[label] if label >= 0 else 0 for label in path] == log_probs.argmax(1).tolist()
    assert score(log_probs, align(log_probs, tokens), tokens) == pytest.approx(score(log_probs, path, tokens))


def test_long_sound_and_many_labels() -> None:
    frames, tokens = 3000, [1, 2, 2] * 200
    random = np.random.default_rng(0)
    path = np.zeros(frames, dtype=int)
    path[2 : 2 + 4 * len(tokens) : 4] = tokens
    log_probs = np.log(random.uniform(0.01, 0.1, (frames, 3)))
    log_probs[np.arange(frames), path] = math.log(0.8)
    assert [frame for frame, label in enumerate(align(log_probs, tokens)) if label >= 0] == np.flatnonzero(
        path
    ).tolist()
