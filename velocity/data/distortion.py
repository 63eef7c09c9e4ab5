"""All effects of ``finetune.augmentation`` in their order: the way of a sound from a talker to a recogniser."""

from __future__ import annotations

import numpy as np

from velocity.config.augmentation import EFFECTS, Augmentation


class Distortion:
    """Reads or simulates once what the effects need.

    Raises VelocityError, naming the key, when ``noise_source`` or ``room_source`` is not a folder of audio.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        prepared = [(effect.masks, effect.prepare(settings, seed)) for effect in EFFECTS]
        self._on_samples = [apply for masks, apply in prepared if apply and not masks]
        self._on_features = [apply for masks, apply in prepared if apply and masks]

    def distort(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz → (samples / speed,) float32; nothing is clipped at full scale."""
        for apply in self._on_samples:
            samples = apply(samples, random)
        return samples

    def mask(self, features: np.ndarray, fill: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """A copy of (frames, 80) whose masked places are ``fill`` (80,)."""
        features = np.array(features)
        for apply in self._on_features:
            features = apply(features, fill, random)
        return features
