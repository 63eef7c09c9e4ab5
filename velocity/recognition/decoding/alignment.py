"""Forced alignment: the most probable CTC path for given labels (Kürzinger et al. 2020, "CTC-segmentation")."""

from __future__ import annotations

import numpy as np


def align(log_probs: np.ndarray, tokens: list[int], blank: int = 0) -> np.ndarray:
    """(frames, V) log-posteriors and n labels → (frames,) int64: the index of each frame's label, -1 for blank.

    Viterbi over the 2n + 1 states blank, label, blank, …; one byte of memory per frame and state.
    Raises ValueError when the labels need more frames than there are.
    """
    frames, labels = len(log_probs), np.asarray(tokens, dtype=np.int64)
    states = 2 * len(labels) + 1
    classes = np.full(states, blank)
    classes[1::2] = labels
    skips = np.zeros(states, dtype=bool)  # a label may directly follow another, unless they are equal
    skips[3::2] = labels[1:] != labels[:-1]
    score = np.full(states, -np.inf)  # of the best path that ends in each state
    score[: min(2, states)] = 0.0
    steps = np.zeros((frames, states), dtype=np.int8)  # how many states back the best predecessor is
    for frame in range(frames):
        if frame:
            one, two = np.full(states, -np.inf), np.full(states, -np.inf)
            one[1:] = score[:-1]
            two[2:] = np.where(skips[2:], score[:-2], -np.inf)
            steps[frame] = np.where(two > np.maximum(score, one), 2, one > score)
            score = np.maximum(np.maximum(score, one), two)
        score = score + log_probs[frame, classes]
    state = states - 1 if states == 1 or score[-1] >= score[-2] else states - 2
    if not np.isfinite(score[state]):
        raise ValueError(f"{frames} frames are too few for {len(labels)} labels")
    path = np.empty(frames, dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    return np.where(path % 2 == 1, path // 2, -1)
