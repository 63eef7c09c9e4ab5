"""All effects of ``finetune.augmentation`` in their order: the way of a sound from a talker to a recogniser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from velocity.config.augmentation import EFFECTS, Augmentation

if TYPE_CHECKING:
    from torch import Tensor


class Distortion:
    """The effects on samples; reads or simulates once what they need.

    Raises VelocityError, naming the key, when ``noise_source`` or ``room_source`` is not a folder of audio.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        prepared = [effect.prepare(settings, seed) for effect in EFFECTS if not effect.masks]
        self._effects = [apply for apply in prepared if apply]

    def distort(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz → (samples / speed,) float32; nothing is clipped at full scale."""
        for apply in self._effects:
            samples = apply(samples, random)
        return samples


def masked(settings: Augmentation | None, features: Tensor, lengths: Tensor) -> Tensor:
    """Normalised features (b, frames, bins) with zeros, the mean of a bin, where the masks of ``settings`` fall."""
    for effect in EFFECTS if settings else ():
        if effect.masks and (hidden := effect.hidden(settings, lengths, *features.shape[1:])) is not None:
            features = features.masked_fill(hidden, 0.0)
    return features
