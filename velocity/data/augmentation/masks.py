"""SpecAugment: stretches of time and bands of frequency are hidden (Park et al. 2019)."""

from __future__ import annotations

import numpy as np

from velocity.audio import MEL_BINS
from velocity.config.training import Augmentation


def mask_features(
    features: np.ndarray, settings: Augmentation, fill: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """A copy of (frames, 80) whose masked places are ``fill`` (80,); masks may overlap, and may have no width."""
    features = np.array(features)
    frames = len(features)
    longest = int(frames * settings.time_mask_share)
    for _ in range(settings.time_masks):
        width = int(random.integers(0, longest + 1))
        start = int(random.integers(0, frames - width + 1))
        features[start : start + width] = fill
    for _ in range(settings.frequency_masks):
        width = int(random.integers(0, settings.frequency_mask_bins + 1))
        low = int(random.integers(0, MEL_BINS - width + 1))
        features[:, low : low + width] = fill[low : low + width]
    return features
