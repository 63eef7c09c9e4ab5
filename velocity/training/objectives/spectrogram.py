"""Masked-spectrogram prediction: reconstruct the log-mel that was hidden."""

from __future__ import annotations

from torch import Tensor, nn

from velocity.config.pretraining import Pretraining
from velocity.data.batches import Batch
from velocity.model.asr import VelocityModel
from velocity.training.objectives.masking import MaskedPrediction, draw_bands, draw_spans, in_speech


class MaskedSpectrogram(MaskedPrediction):
    """Reconstruct hidden stretches and bands of the normalised log-mel from what surrounds them; L1 on these alone.

    Half of the frames are hidden, in spans, and sometimes a band of frequencies (specification, stage 1). Hidden places
    become zero, the mean of their bin.
    """

    def __init__(self, model: VelocityModel, settings: Pretraining, seed: int) -> None:
        super().__init__(model, settings, seed)
        config = model.config
        self.head = nn.Linear(config.dim, config.stride * config.mel_bins)

    def forward(self, batch: Batch) -> Tensor:
        features = self.model.normalize(batch.features, batch.lengths)  # (b, frames, bins)
        b, frames, bins = features.shape
        hidden = self.hidden(batch)
        encoded = self.model.encode(features.masked_fill(hidden, 0.0), batch.lengths).frames  # (b, l, dim)
        guess = self.head(encoded).reshape(b, -1, bins)[:, :frames]  # each model frame gives ``stride`` frames
        error = (guess.float() - features).abs().masked_fill(~hidden, 0.0)
        return (error.sum((1, 2)) / hidden.sum((1, 2))).mean()

    def hidden(self, batch: Batch) -> Tensor:
        """Boolean (b, frames, bins), True where nothing is shown."""
        _, frames, bins = batch.features.shape
        randoms = self.generators(batch)
        spans = draw_spans(batch.lengths, frames, self.settings, randoms)  # (b, frames)
        bands = draw_bands(bins, self.settings, randoms).to(spans.device)  # (b, bins)
        return (spans.unsqueeze(-1) | bands.unsqueeze(1)) & in_speech(batch.lengths, frames).unsqueeze(-1)
