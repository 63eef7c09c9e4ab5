"""What a model is trained for: each objective is a module whose ``forward`` gives the loss of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.training import Pretraining
from velocity.data.batches import Batch
from velocity.model.asr import BLANK, VelocityModel


class CTC(nn.Module):
    """Connectionist temporal classification (Graves et al. 2006): mean over utterances of loss per label."""

    def __init__(self, model: VelocityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        log_probs, lengths = self.model(batch.features, batch.lengths)
        return F.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, blank=BLANK, zero_infinity=True
        )


class MaskedSpectrogram(nn.Module):
    """Reconstruct masked stretches of the normalised log-mel from what surrounds them; L1 on masked places only.

    Spans of ``mask_span`` frames start at each frame with probability ``mask_start``; with ``band_probability`` an
    utterance also loses a band of frequencies (specification, stage 1).
    """

    def __init__(self, model: VelocityModel, settings: Pretraining) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        config = model.config
        self.stride = config.stride
        self.decoder = nn.Linear(config.dim, config.stride * config.mel_bins)

    def forward(self, batch: Batch) -> Tensor:
        features = self.model.normalize(batch.features)  # (b, frames, bins)
        hidden = self.mask(features, batch.lengths)  # (b, frames, bins) True where nothing is shown
        encoded, _ = self.model.encode(features.masked_fill(hidden, 0.0), batch.lengths)
        b, frames, bins = features.shape
        guess = self.decoder(encoded).reshape(b, -1, bins)[:, :frames]  # each model frame gives ``stride`` frames
        return (guess.float() - features)[hidden].abs().mean()

    def mask(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Boolean (b, frames, bins), drawn from torch's global generator; never on padding."""
        settings = self.settings
        b, frames, bins = features.shape
        device = features.device
        starts = (torch.rand(b, frames) < settings.mask_start).float().unsqueeze(1)
        starts[:, :, 0] += (starts.sum(-1) == 0).float()  # at least one span, so that there is a loss
        covered = F.max_pool1d(F.pad(starts, (settings.mask_span - 1, 0)), settings.mask_span, 1)[:, 0] > 0
        low, high = settings.band_bins
        width = torch.randint(low, high + 1, (b, 1))
        first = (torch.rand(b, 1) * (bins - width + 1)).long()
        index = torch.arange(bins)
        band = (index >= first) & (index < first + width) & (torch.rand(b, 1) < settings.band_probability)
        hidden = (covered.unsqueeze(-1) | band.unsqueeze(1)).to(device)
        return hidden & (torch.arange(frames, device=device) < lengths.unsqueeze(1)).unsqueeze(-1)
