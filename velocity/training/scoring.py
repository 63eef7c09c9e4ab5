"""Validation of a model in training."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from velocity.data.batches import Batch
from velocity.recognition.decoding.greedy import greedy
from velocity.text import TextTokenizer
from velocity.training.objectives.ctc import CTC


@torch.no_grad()
def validation_scores(objective: CTC, batches: Iterable[Batch], tokenizer: TextTokenizer) -> dict[str, float]:
    """{"loss": mean CTC loss an utterance, "wer": word error rate of greedy decoding} over ``batches``."""
    import jiwer

    loss, references, hypotheses = 0.0, [], []
    device = next(objective.parameters()).device
    for batch in batches:
        batch = batch.to(device)
        loss += objective(batch).item() * len(batch.ids)
        log_probs, lengths = objective.model(batch.features, batch.lengths)
        for row, length, target, size in zip(log_probs, lengths, batch.targets, batch.target_lengths, strict=True):
            hypotheses.append(tokenizer.decode(greedy(row[:length].cpu().numpy())))
            references.append(tokenizer.decode(target[:size].tolist()))
    return {"loss": loss / len(references), "wer": jiwer.wer(references, hypotheses)}
