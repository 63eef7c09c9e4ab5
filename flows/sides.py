"""The two sides of a pull request: each a commit in a workspace of its own, and the model that is made there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from velocity.commands.models import find_artefact
from velocity.gate import Model
from velocity.project import EXPORTED

WORKSPACES = Path(".dvc/tmp/ci")


@dataclass
class Side:
    """A commit, the workspace it was made in, what each of its stages did, and the name DVC has for the outcome."""

    name: str  # "base" or "change"
    commit: str
    stages: dict[str, str] = field(default_factory=dict)
    experiment: str = ""

    @property
    def folder(self) -> Path:
        return (WORKSPACES / self.name).absolute()

    @property
    def title(self) -> str:
        return f"{self.name} {self.commit[:10]}"

    def model(self) -> Model:
        return Model(self.title, find_artefact(str(self.folder / EXPORTED), quantized=True), self.folder)
