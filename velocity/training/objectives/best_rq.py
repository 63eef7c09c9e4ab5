"""BEST-RQ: predict the labels that a random quantiser gives to what was hidden.

Chiu et al., "Self-supervised learning with random-projection quantizer for speech recognition", ICML 2022; several
codebooks as in Zhang et al., "Google USM", 2023.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.pretraining import Pretraining
from velocity.data.batches import Batch
from velocity.model.asr import VelocityModel
from velocity.training.objectives.masking import MaskedPrediction, draw_spans, in_speech


class RandomProjectionQuantizer(nn.Module):
    """Frames (…, width) → labels (…, codebooks) int64 in [0, size): all is drawn, nothing is learned or saved.

    Each codebook projects a frame to ``dim`` numbers (Xavier-uniform) and names the nearest of ``size`` standard normal
    vectors, these and the projection brought to length 1.
    """

    def __init__(self, width: int, codebooks: int, size: int, dim: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = (6 / (width + dim)) ** 0.5
        projection = (2 * torch.rand(codebooks, width, dim, generator=generator) - 1) * bound
        codes = F.normalize(torch.randn(codebooks, size, dim, generator=generator), dim=-1)
        self.register_buffer("projection", projection, persistent=False)
        self.register_buffer("codes", codes, persistent=False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        with torch.autocast(frames.device.type, enabled=False):  # labels do not depend on the training's precision
            labels = [
                # Of vectors of length 1, the nearest is the one with the largest product.
                (F.normalize(frames @ projection, dim=-1) @ codes.T).argmax(-1)
                for projection, codes in zip(self.projection, self.codes, strict=True)
            ]
        return torch.stack(labels, -1)


class BestRQ(MaskedPrediction):
    """Hidden frames become noise; the encoder predicts the labels of what was there: cross-entropy on these alone.

    A frame of the model stands for ``stride`` feature frames, normalised and stacked. It counts when all of them are
    hidden. The loss of a frame is the mean over codebooks.
    """

    def __init__(self, model: VelocityModel, settings: Pretraining, seed: int) -> None:
        super().__init__(model, settings, seed)
        config, of = model.config, settings.best_rq
        width = config.stride * config.mel_bins
        self.quantizer = RandomProjectionQuantizer(width, of.codebooks, of.codebook_size, of.code_dim, seed)
        self.head = nn.Linear(config.dim, of.codebooks * of.codebook_size)

    def forward(self, batch: Batch) -> Tensor:
        features = self.model.normalize(batch.features, batch.lengths)  # (b, frames, bins)
        randoms = self.generators(batch)
        spans = draw_spans(batch.lengths, features.size(1), self.settings, randoms)  # (b, frames)
        hidden = self.stack(spans.unsqueeze(-1)).all(-1)  # (b, l)
        labels = self.quantizer(self.stack(features)[hidden])  # (n, codebooks)
        encoded = self.model.encode(self.with_noise(features, spans, randoms), batch.lengths).frames  # (b, l, dim)
        logits = self.head(encoded[hidden]).float().unflatten(-1, (labels.size(1), -1))  # (n, codebooks, size)
        loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(-1)  # (n,)
        of_utterance = torch.zeros_like(hidden, dtype=loss.dtype).masked_scatter(hidden, loss).sum(1)  # (b,)
        return (of_utterance / hidden.sum(1).clamp(min=1)).mean()

    def stack(self, x: Tensor) -> Tensor:
        """(b, frames, d) → (b, l, stride · d): what each frame of the model stands for; zeros fill the last one."""
        stride = self.model.config.stride
        return F.pad(x, (0, 0, 0, -x.size(1) % stride)).reshape(x.size(0), -1, stride * x.size(2))

    def with_noise(self, features: Tensor, spans: Tensor, randoms: list[np.random.Generator]) -> Tensor:
        """``features`` with normal noise of the standard deviation ``noise`` in place of hidden frames."""
        sizes = [(count, features.size(2)) for count in spans.sum(1).tolist()]
        drawn = [random.standard_normal(size, np.float32) for random, size in zip(randoms, sizes, strict=True)]
        shown = features.clone()
        shown[spans] = self.settings.best_rq.noise * torch.from_numpy(np.concatenate(drawn)).to(features)
        return shown

    @torch.no_grad()
    def validation(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Also "codebook_perplexity": the effective number of labels that the speech uses, mean over codebooks.

        At 1 all speech has the same label. A loss below its logarithm has learned more than the labels' frequencies.
        """
        used = torch.zeros_like(self.quantizer.codes[..., 0])  # (codebooks, size)

        def counted() -> Iterable[Batch]:
            for batch in batches:
                batch = batch.to(used.device)
                whole = self.stack(in_speech(batch.lengths, batch.features.size(1)).unsqueeze(-1)).all(-1)  # (b, l)
                features = self.model.normalize(batch.features, batch.lengths)
                labels = self.quantizer(self.stack(features)[whole]).T  # (codebooks, n)
                used.scatter_add_(1, labels, torch.ones_like(labels, dtype=used.dtype))
                yield batch

        return {**super().validation(counted()), "codebook_perplexity": perplexity(used).mean().item()}


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of how often each class occurs: (…, classes) → (…)."""
    shares = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()
