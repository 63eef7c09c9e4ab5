"""What all requests share: the recogniser, its queue and the limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from velocity.recognition.offline import VelocityASR
from velocity.server.uploads import Limits
from velocity.server.work import Queue


@dataclass(frozen=True)
class Service:
    """``decoding`` are arguments of ``Decoder`` for all requests."""

    model: VelocityASR
    limits: Limits
    queue: Queue
    decoding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return str(self.model.config.get("name") or self.model.folder.name)

    @property
    def created(self) -> int:
        """When the model's file was written, in seconds since 1970."""
        return int((self.model.folder / "model.onnx").stat().st_mtime)
