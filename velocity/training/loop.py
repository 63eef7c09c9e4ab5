"""The training loop, for both stages: Lightning Fabric for devices and precision, everything else in sight.

Every random draw of step k follows from the seed and k: dropout and masks through the seed set at the step, batches and
distortions through their position in the data. So a checkpoint holds that position and no random state, and a resumed
training takes the same path.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from velocity.config.training import Optimisation
from velocity.data.batches import START, Batch, Position
from velocity.errors import VelocityError
from velocity.progress import Progress
from velocity.training.checkpoint import Checkpoints

LOG_EVERY = 10  # steps: the loss in the history is the mean over them


def set_determinism(threads: int) -> None:
    """Fix what the bytes of a result depend on: the number of threads and the choice of kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def fit(
    objective: nn.Module,
    batches: Callable[[Position], Iterator[Batch]],
    settings: Optimisation,
    seed: int,
    checkpoints: Checkpoints,
    title: str,
    before_step: Callable[[int], None] = lambda step: None,
    validate: Callable[[], dict[str, float]] = dict,
) -> dict[str, Any]:
    """Train ``objective`` in place for ``settings.steps`` steps, resuming from ``checkpoints`` where there is one.

    ``batches(position)`` yields the batches of a training from there on. Returns the history: {"training": [row…],
    "validation": [row…], "audio_seconds": seconds of audio trained on}, rows being dictionaries with "step".
    Raises VelocityError when the loss stops being a number, naming the step and the utterances.
    """
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="auto", devices=1, precision=settings.precision)
    optimizer = adamw(objective, settings)
    model, optimizer = fabric.setup(objective, optimizer)
    history: dict[str, Any] = {"training": [], "validation": [], "audio_seconds": 0.0, "recent_losses": []}
    first, position, restored = 0, START, checkpoints.restore(objective, optimizer)
    if restored is not None:
        first, history = restored["step"], restored["history"]
        position = Position(*restored["position"])
        print(f"{title}: goes on from the checkpoint after step {first}", flush=True)

    stream = batches(position)
    started, heard = time.monotonic(), history["audio_seconds"]
    with Progress(title, settings.steps, first) as progress:
        for step in range(first, settings.steps):
            before_step(step)
            batch = next(stream).to(fabric.device)
            torch.manual_seed(seed * 1_000_003 + step)
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            model.train()
            loss = model(batch)
            fabric.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), settings.clip)
            if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
                named = ", ".join(batch.ids[:8]) + (" …" if len(batch.ids) > 8 else "")
                raise VelocityError(f"{title}: the loss at step {step} is not a number; the batch holds {named}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            done, position = step + 1, batch.position.following()
            history["recent_losses"].append(loss.item())
            history["audio_seconds"] += batch.lengths.sum().item() / 100
            if done % LOG_EVERY == 0 or done == settings.steps:
                recent = history["recent_losses"]
                mean = sum(recent) / len(recent)
                row = {"step": done, "loss": mean, "learning_rate": rate, "gradient_norm": norm.item()}
                history["training"].append(row)
                recent.clear()
            if done % settings.validate_every == 0 or done == settings.steps:
                model.eval()
                history["validation"].append({"step": done, **validate()})
            if done % settings.checkpoint_every == 0 and done < settings.steps:
                checkpoints.save(objective, optimizer, {"step": done, "position": position, "history": history})
            speed = (history["audio_seconds"] - heard) / (time.monotonic() - started)
            progress.advance(loss=loss.item(), **{"× real time": speed})
    return history


def adamw(model: nn.Module, settings: Optimisation) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only: decay rates, biases, norms and gains are left to the data."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def learning_rate(step: int, settings: Optimisation) -> float:
    """Linear warm-up, then half a cosine to zero."""
    warmup = max(1, round(settings.warmup * settings.steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, settings.steps - warmup)))
