"""The state of a training: exactly what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from velocity.data.batches import START, Position

Weights = dict[str, Tensor]
REMEMBERED = ("step", "position", "processes", "history", "unlogged", "losses", "best_row", "waited")


@dataclass
class TrainingState:
    """A training after ``step`` steps."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    average: AveragedModel | None
    processes: int = 1
    step: int = 0
    position: Position = START  # of the next batch
    history: dict[str, Any] = field(default_factory=lambda: {"training": [], "validation": [], "audio_seconds": 0.0})
    unlogged: list[float] = field(default_factory=list)  # losses since the last row of the history
    losses: list[float] = field(default_factory=list)  # the guard's memory
    best: Weights = field(default_factory=dict)  # of the best validation, where training may stop early
    best_row: dict[str, float] | None = None
    waited: int = 0  # validations since then

    def weights(self) -> Weights:
        """The result so far: the average of the weights if one is kept."""
        return (self.average.module if self.average else self.model).state_dict()

    def parts(self, buffers: Weights | None = None) -> tuple[dict[str, Weights], dict[str, Any]]:
        """Tensors and the rest, as ``Checkpoints.save`` takes them; ``buffers`` instead of the model's own."""
        model = self.model.state_dict()
        model |= {name: buffer for name, buffer in (buffers or {}).items() if name in model}
        tensors = {"model": model, "optimizer": _flatten(self.optimizers)}
        tensors |= {"average": self.average.state_dict()} if self.average else {}
        tensors |= {"best": self.best} if self.best else {}
        return tensors, {name: getattr(self, name) for name in REMEMBERED}

    def take(self, tensors: dict[str, Weights], remembered: dict[str, Any]) -> None:
        """Restore what ``parts`` gave."""
        self.model.load_state_dict(tensors["model"])
        _unflatten(self.optimizers, tensors["optimizer"])
        if self.average:
            self.average.load_state_dict(tensors["average"])
        self.best = tensors.get("best", {})
        for name in REMEMBERED:
            setattr(self, name, remembered[name])
        self.position = Position(*self.position)

    def judge(self, row: dict[str, float]) -> int:
        """Keep the weights if no validation was better, by "wer", then "loss"; returns the validations since then."""
        better = self.best_row is None or _score(row) < _score(self.best_row)
        if better:
            self.best, self.best_row = clone(self.weights()), row
        self.waited = 0 if better else self.waited + 1
        return self.waited


def _score(row: dict[str, float]) -> list[float]:
    return [row[key] for key in ("wer", "loss") if key in row]


def clone(weights: Weights) -> Weights:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _flatten(optimizers: list[torch.optim.Optimizer]) -> Weights:
    return {
        f"{number}.{index}.{key}": tensor
        for number, optimizer in enumerate(optimizers)
        for index, slots in optimizer.state_dict()["state"].items()
        for key, tensor in slots.items()
    }


def _unflatten(optimizers: list[torch.optim.Optimizer], tensors: Weights) -> None:
    states: list[dict[int, Weights]] = [{} for _ in optimizers]
    for name, tensor in tensors.items():
        number, index, key = name.split(".")
        states[int(number)].setdefault(int(index), {})[key] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
