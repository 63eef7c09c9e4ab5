"""Mean and spread of a training set's features, their level taken out: what the model's input is normalised with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from velocity.audio import MEL_BINS, compute_mel_spectrogram
from velocity.data.shards import load_cut
from velocity.progress import track

if TYPE_CHECKING:
    from lhotse import MonoCut

ENOUGH_SECONDS = 3600.0  # means and deviations have settled by then
SMALLEST_STD = 1e-3  # of a bin that never changes


def measure_features(
    cuts: Iterable[MonoCut], threads: int = 2, enough_seconds: float = ENOUGH_SECONDS
) -> dict[str, list[float]]:
    """{"mean": [80], "std": [80]} over the frames of the first ``enough_seconds`` of ``cuts``, in one pass.

    They come in the order of training, so the first are a sample of all. Sums are added in that order: the figures do
    not depend on the number of threads.
    """
    sample = list(_first_seconds(cuts, enough_seconds))
    frames, total, squares = 0, np.zeros(MEL_BINS), np.zeros(MEL_BINS)
    with ThreadPoolExecutor(threads) as pool:
        for count, part, part_squares in track(pool.map(_sums, sample), "feature statistics", len(sample)):
            frames += count
            total += part
            squares += part_squares
    mean = total / frames
    std = np.sqrt(np.maximum(squares / frames - mean**2, SMALLEST_STD**2))
    return {"mean": [round(float(value), 6) for value in mean], "std": [round(float(value), 6) for value in std]}


def _first_seconds(cuts: Iterable[MonoCut], enough: float) -> Iterator[MonoCut]:
    seconds = 0.0
    for cut in cuts:
        yield cut
        seconds += cut.duration
        if seconds >= enough:
            return


def _sums(cut: MonoCut) -> tuple[int, np.ndarray, np.ndarray]:
    """Frames, and the (80,) sums of the features and of their squares."""
    import torch

    from velocity.model.level import LevelNormalisation

    mel = torch.from_numpy(np.array(compute_mel_spectrogram(load_cut(cut)))).unsqueeze(0)
    with torch.no_grad():
        levelled = LevelNormalisation(causal=False)(mel, torch.ones_like(mel[..., :1]))
    features = levelled[0].numpy().astype(np.float64)
    return len(features), features.sum(axis=0), (features**2).sum(axis=0)
