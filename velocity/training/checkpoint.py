"""Checkpoints of a running training: whole or absent, without pickle, resumed only by the training they are of."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from velocity.files import atomic_directory

FOLDER = Path("models/checkpoints")


class Checkpoints:
    """The newest checkpoint of one training, in ``models/checkpoints/<name>``.

    ``fingerprint`` stands for everything the result depends on; a checkpoint of another fingerprint is not touched by
    ``restore`` and is overwritten by ``save``.
    """

    def __init__(self, name: str, fingerprint: str) -> None:
        self.path, self.fingerprint = FOLDER / name, fingerprint

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """``state``: what else the training goes on from, as JSON takes it."""
        with atomic_directory(self.path) as folder:
            weights = {key: value.contiguous() for key, value in model.state_dict().items()}
            save_file(weights, folder / "model.safetensors")
            save_file(_flatten(optimizer), folder / "optimizer.safetensors")
            (folder / "state.json").write_text(json.dumps({**state, "fingerprint": self.fingerprint}))

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Load model and optimiser in place; returns the state saved with them, None if there is none to resume."""
        try:
            state = json.loads((self.path / "state.json").read_text())
        except (OSError, ValueError):
            return None
        if state.pop("fingerprint") != self.fingerprint:
            return None
        model.load_state_dict(load_file(self.path / "model.safetensors"))
        _unflatten(optimizer, load_file(self.path / "optimizer.safetensors"))
        return state

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def fingerprint(parts: Iterable[str | Path]) -> str:
    """SHA-256 over texts and over the contents of files, however large."""
    digest = hashlib.sha256()
    for part in parts:
        with open(part, "rb") if isinstance(part, Path) else BytesIO(part.encode()) as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())  # of one length: borders cannot be mistaken
    return digest.hexdigest()


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": tensor.contiguous() for index, slots in state.items() for key, tensor in slots.items()}


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
