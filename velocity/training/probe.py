"""What is pretraining worth? A linear CTC head is trained on the frozen encoder and another on the untrained encoder;
both are compared on speakers that neither head was trained on.

A head reads every layer: a weighted sum of them, with weights that it learns (Yang et al. 2021, "SUPERB"). What
pretraining teaches is often in the middle of the encoder, not at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.config.pretraining import Probe
from velocity.data.batches import Batch
from velocity.model.asr import BLANK, VelocityModel
from velocity.recognition.decoding.greedy import greedy

RESAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class Encoded:
    """The output of a frozen encoder for b utterances, and their labels."""

    layers: Tensor  # (layers, b, l, dim) float32: after each block, and what the heads see
    lengths: Tensor  # (b,) int64
    targets: Tensor  # (b, longest) int64
    target_lengths: Tensor  # (b,) int64


@dataclass(frozen=True)
class Reading:
    """How a head did on held-out speech: three (utterances,) arrays."""

    errors: np.ndarray  # edits from the reference to the hypothesis
    tokens: np.ndarray  # in the reference
    losses: np.ndarray  # CTC, in nats

    def figures(self) -> dict[str, float]:
        tokens = self.tokens.sum()
        return {"token_error_rate": float(self.errors.sum() / tokens), "loss": float(self.losses.sum() / tokens)}


def probe(
    pretrained: VelocityModel,
    random: VelocityModel,
    labelled: Sequence[Batch],
    held_out: Sequence[Batch],
    settings: Probe,
    seed: int,
) -> dict[str, Any]:
    """How well heads read the two encoders, which are left as they are.

    Returns {"pretrained": {"token_error_rate": f, "loss": nats a token, "layers": [weight of each]}, "random": {…},
    "difference_ci95": [lo, hi]}: the interval of the token error rate of the pretrained encoder less that of the other,
    by the percentile bootstrap over held-out utterances, the same ones drawn for both.
    """
    figures, readings = {}, []
    for name, model in (("pretrained", pretrained), ("random", random)):
        head = train_head(encode(model, labelled), model.config.vocabulary, settings)
        readings.append(read(head, encode(model, held_out)))
        figures[name] = {**readings[-1].figures(), "layers": [round(w, 4) for w in head.weights().tolist()]}
    return {**figures, "difference_ci95": list(difference_interval(*readings, seed))}


def verdict(figures: dict[str, Any]) -> str:
    """One line on what ``probe`` found."""
    ours, theirs = (100 * figures[name]["token_error_rate"] for name in ("pretrained", "random"))
    low, high = (100 * bound for bound in figures["difference_ci95"])
    conclusion = "pretraining helps" if high < 0 else "pretraining harms" if low > 0 else "no difference is shown"
    return (
        f"probe: a linear head on the frozen encoder gets {ours:.1f} % of the tokens wrong, {theirs:.1f} % without "
        f"pretraining (95 % interval of the difference {low:+.1f} to {high:+.1f}): {conclusion}"
    )


@torch.no_grad()
def encode(model: VelocityModel, batches: Iterable[Batch]) -> list[Encoded]:
    """All layers of the encoder for each batch, undistorted and without dropout."""
    was_training, device = model.training, model.feature_mean.device
    model.eval()
    encoded = []
    for batch in batches:
        batch = batch.to(device)
        frames, lengths, blocks = model.encode(model.normalize(batch.features, batch.lengths), batch.lengths)
        layers = torch.stack([*blocks, frames]).float()
        encoded.append(Encoded(layers, lengths, batch.targets, batch.target_lengths))
    model.train(was_training)
    return encoded


def train_head(batches: Sequence[Encoded], vocabulary: int, settings: Probe) -> Head:
    """The head that reads ``batches`` best. It starts from zero, so nothing is drawn; batches are used in turn, and
    Adam's rate falls linearly to zero."""
    head = Head.of(batches, vocabulary)
    optimizer = torch.optim.Adam(head.parameters(), settings.learning_rate)
    for step in range(settings.steps):
        batch = batches[step % len(batches)]
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
        loss = ctc(head(batch.layers), batch).sum() / batch.target_lengths.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head


class Head(nn.Module):
    """(layers, b, l, dim) → (b, l, vocabulary): a linear layer behind the weighted sum of all layers, each of which has
    channels of mean 0 and deviation 1. A channel that never changes becomes zero."""

    def __init__(self, mean: Tensor, deviation: Tensor, vocabulary: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)  # (layers, 1, 1, dim)
        self.register_buffer("deviation", deviation.clamp(min=1e-5))
        self.mix = nn.Parameter(torch.zeros(len(mean), device=mean.device))
        self.linear = nn.Linear(mean.size(-1), vocabulary, device=mean.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def of(cls, batches: Sequence[Encoded], vocabulary: int) -> Head:
        spoken = [b.layers[:, row, :length] for b in batches for row, length in enumerate(b.lengths)]
        channels = torch.cat(spoken, 1)  # (layers, frames, dim)
        return cls(channels.mean(1)[:, None, None], channels.std(1)[:, None, None], vocabulary)

    def weights(self) -> Tensor:
        """(layers,), of sum 1."""
        return self.mix.detach().softmax(0)

    def forward(self, layers: Tensor) -> Tensor:
        scaled = (layers - self.mean) / self.deviation
        return self.linear(torch.tensordot(self.mix.softmax(0), scaled, 1))


def ctc(logits: Tensor, batch: Encoded) -> Tensor:
    """CTC loss of each utterance in nats: (b, l, vocabulary) → (b,)."""
    log_probs = logits.log_softmax(-1).transpose(0, 1)  # (l, b, vocabulary)
    lengths = (batch.lengths, batch.target_lengths)
    return F.ctc_loss(log_probs, batch.targets, *lengths, blank=BLANK, reduction="none", zero_infinity=True)


@torch.no_grad()
def read(head: nn.Module, batches: Iterable[Encoded]) -> Reading:
    """Greedy decoding of every utterance, and its loss."""
    import jiwer

    errors, tokens, losses = [], [], []
    for batch in batches:
        logits = head(batch.layers)  # (b, l, vocabulary)
        losses += ctc(logits, batch).tolist()
        for row, length, target, size in zip(logits, batch.lengths, batch.targets, batch.target_lengths, strict=True):
            reference, hypothesis = target[:size].tolist(), greedy(row[:length].cpu().numpy())
            edits = jiwer.process_words(" ".join(map(str, reference)), " ".join(map(str, hypothesis)))  # a word a token
            errors.append(edits.substitutions + edits.deletions + edits.insertions)
            tokens.append(len(reference))
    return Reading(np.array(errors), np.array(tokens), np.array(losses))


def difference_interval(first: Reading, second: Reading, seed: int) -> tuple[float, float]:
    """95 % interval of the token error rate of ``first`` less that of ``second``, over the same utterances."""
    generator = np.random.default_rng(seed)
    differences = np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        drawn = generator.integers(len(first.tokens), size=len(first.tokens))
        differences[resample] = (first.errors - second.errors)[drawn].sum() / first.tokens[drawn].sum()
    low, high = np.percentile(differences, (2.5, 97.5))
    return float(low), float(high)
