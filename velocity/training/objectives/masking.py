"""What the objectives of pretraining share: which stretches of an utterance are hidden, and a loss on these alone."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from velocity.config.pretraining import Pretraining
from velocity.data.batches import Batch
from velocity.model.asr import VelocityModel


class MaskedPrediction(nn.Module):
    """Hide stretches of the audio, and have the encoder predict what was there.

    ``forward`` gives the mean over utterances of the mean loss over an utterance's hidden places; nothing else counts.
    """

    def __init__(self, model: VelocityModel, settings: Pretraining, seed: int) -> None:
        super().__init__()
        self.model, self.settings, self.seed = model, settings, seed

    def forward(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def generators(self, batch: Batch) -> list[np.random.Generator]:
        """A random generator for each utterance, seeded by the seed, the epoch and the utterance's id.

        So its mask does not depend on its batch or process, and differs in each epoch.
        """
        return [np.random.default_rng([self.seed, batch.position.epoch, crc32(name.encode())]) for name in batch.ids]

    @torch.no_grad()
    def validation(self, batches: Iterable[Batch]) -> dict[str, float]:
        """{"loss": mean over the utterances of ``batches``}, the same places being hidden each time."""
        device, loss, utterances = self.model.feature_mean.device, 0.0, 0
        for batch in batches:
            loss += self(batch.to(device)).item() * len(batch.ids)
            utterances += len(batch.ids)
        return {"loss": loss / utterances}


def draw_spans(lengths: Tensor, frames: int, settings: Pretraining, randoms: list[np.random.Generator]) -> Tensor:
    """Boolean (b, frames), True where a frame is hidden; never on padding.

    A span of ``mask_span`` frames starts at each frame with probability ``mask_start``; spans may overlap and end with
    the utterance. An utterance without any gets one, so that there is always a loss.
    """
    hidden = np.zeros((len(randoms), frames), dtype=bool)
    for row, length, random in zip(hidden, lengths.tolist(), randoms, strict=True):
        starts = random.random(length) < settings.mask_start
        if not starts.any():
            starts[random.integers(max(1, length - settings.mask_span + 1))] = True
        row[:length] = np.convolve(starts, np.ones(settings.mask_span))[:length] > 0
    return torch.from_numpy(hidden).to(lengths.device)


def draw_bands(bins: int, settings: Pretraining, randoms: list[np.random.Generator]) -> Tensor:
    """Boolean (b, bins): with ``band_probability`` an utterance loses a band of ``band_bins`` bins throughout."""
    hidden = np.zeros((len(randoms), bins), dtype=bool)
    for row, random in zip(hidden, randoms, strict=True):
        if random.random() < settings.band_probability:
            width = random.integers(*settings.band_bins, endpoint=True)
            first = random.integers(bins - width, endpoint=True)
            row[first : first + width] = True
    return torch.from_numpy(hidden)


def in_speech(lengths: Tensor, frames: int) -> Tensor:
    """Boolean (b, frames), False on padding."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)
