"""Training-time distortions of waveforms and features: what a recogniser should hear through.

Each is a switch of ``finetune.augmentation`` in params.yaml and draws from the generator it is handed alone, so that
what happens to an utterance follows from the seed, the epoch and its id. A switch that is off draws nothing.
"""

from __future__ import annotations

import numpy as np

from velocity.audio import SAMPLE_RATE, resample
from velocity.config.training import Augmentation
from velocity.data.augmentation.channels import lossy_codec, telephone
from velocity.data.augmentation.masks import mask_features
from velocity.data.augmentation.noise import add_noise, noise_from
from velocity.data.augmentation.rooms import reverberate, rooms_from


class Distortion:
    """The way of a sound from a talker to a recogniser: speed, room, noise, level of the recording, channel.

    What it needs is read or simulated once, here. Raises VelocityError, naming the key, when ``noise_source`` or
    ``room_source`` is not a folder of audio.
    """

    def __init__(self, settings: Augmentation, seed: int) -> None:
        self.settings = settings
        self.draw_noise = noise_from(settings.noise_source) if settings.noise else None
        self.draw_room = rooms_from(settings, seed) if settings.rooms else None

    def distort(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(samples,) float32 at 16 kHz → (samples / speed,) float32; nothing is clipped at full scale.

        Speed perturbation resamples, so pitch moves with tempo (Ko et al. 2015).
        """
        settings = self.settings
        drawn = lambda share: share and random.random() < share  # noqa: E731
        samples = resample(samples, SAMPLE_RATE * random.choice(settings.speeds))
        if drawn(settings.rooms):
            samples = reverberate(samples, self.draw_room(random))
        if drawn(settings.noise):
            snr_db = random.uniform(*settings.noise_snr_db)
            samples = add_noise(samples, self.draw_noise(len(samples), random), snr_db)
        if settings.gain_db:
            samples = samples * np.float32(10 ** (random.uniform(-settings.gain_db, settings.gain_db) / 20))
        if drawn(settings.telephone):
            samples = telephone(samples)
        if drawn(settings.codec):
            samples = lossy_codec(samples, random.choice(settings.codecs), random.random())
        return samples

    def mask(self, features: np.ndarray, fill: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """SpecAugment on (frames, 80); masked places take ``fill`` (80,)."""
        return mask_features(features, self.settings, fill, random)
