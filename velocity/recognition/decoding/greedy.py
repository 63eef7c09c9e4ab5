"""Greedy (best-path) CTC decoding: Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2."""

from __future__ import annotations

import numpy as np


def best_path(log_probs: np.ndarray, blank: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(frames, V) log-posteriors → (tokens, frames): the collapsed best path and the frame each token starts at.

    Takes the most probable class of every frame, merges repetitions and removes blanks; both results are (n,) int64.
    """
    path = np.asarray(log_probs).argmax(axis=-1)  # (frames,)
    starts = np.ones(len(path), dtype=bool)
    starts[1:] = path[1:] != path[:-1]
    frames = np.flatnonzero(starts & (path != blank))
    return path[frames], frames


def best_alignment(log_probs: np.ndarray, blank: int = 0) -> np.ndarray:
    """(frames, V) log-posteriors → (frames,) int64: the index of each frame's label on the best path, -1 for blank.

    It equals the forced alignment of the best path's own labels, without the search.
    """
    path = np.asarray(log_probs).argmax(axis=-1)  # (frames,)
    starts = np.ones(len(path), dtype=bool)
    starts[1:] = path[1:] != path[:-1]
    return np.where(path != blank, np.cumsum(starts & (path != blank)) - 1, -1)


def greedy(log_probs: np.ndarray, blank: int = 0) -> list[int]:
    """(frames, V) log-posteriors → the tokens of the collapsed best path."""
    return best_path(log_probs, blank)[0].tolist()
