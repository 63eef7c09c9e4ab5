"""The optimisers and what changes over the steps: learning rate and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from velocity.config.optimisation import Optimisation
from velocity.training.muon import Muon


def optimisers(model: nn.Module, settings: Optimisation, bf16: bool = False) -> list[torch.optim.Optimizer]:
    """Muon for the linear layers, AdamW for the heads, which give probabilities, and for all that is no matrix.

    ``bf16``: the hardware computes in it, and Muon does as well.
    Weights of layers decay. Decay rates, biases, norms and gains are left to the data.
    """
    linear = [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "head" not in name and module.weight.requires_grad
    ]
    others = [p for p in model.parameters() if not any(p is weight for weight in linear)]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    return [Muon(linear, settings.learning_rate, settings.weight_decay, bf16), adamw] if linear else [adamw]


def learning_rate(step: int, settings: Optimisation) -> float:
    """Linear warm-up, a constant rate, then half a cosine to zero."""
    warmup, falling = bends(settings)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    passed = max(0, step - falling) / max(1, settings.steps - falling)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * passed))


def bends(settings: Optimisation) -> tuple[int, int]:
    """The first step with the full rate, and the last one, after which it falls."""
    warmup = max(1, round(settings.warmup * settings.steps))
    return warmup, max(warmup, settings.steps - round(settings.decay * settings.steps))


def schedule_before(step: int, settings: Optimisation) -> tuple[int, ...]:
    """What the rates of the steps before ``step`` depend on: equal for trainings that differ in what comes after it."""
    warmup, falling = bends(settings)
    return (warmup,) if step <= falling else (warmup, falling, settings.steps)


def ema_decay(updates: int, decay: float) -> float:
    """The decay after ``updates``: rises to ``decay``, so that early weights are soon forgotten."""
    return min(decay, (1 + updates) / (10 + updates))


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of the weights (Polyak & Juditsky 1992); ``update_parameters(model)`` each step.

    Buffers, such as the ranges of quantised activations, are moving averages of their own: they are copied.
    """

    def average(averaged: tuple[Tensor, ...], current: tuple[Tensor, ...], updates: Tensor) -> None:
        get_ema_multi_avg_fn(ema_decay(int(updates), decay))(averaged, current, updates)

    return AveragedModel(model, multi_avg_fn=average)


@contextmanager
def averaged(model: nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """``model`` has the weights of ``average`` within the block; None: it keeps its own."""
    if average is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(own)
