"""The rows of an ablation: what ``ablations.yaml`` says, each with its parameters and the name of its experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.workspaces import git
from velocity.commands.profile import apply_profile
from velocity.config import PARAMS_FILE
from velocity.config.section import section
from velocity.errors import VelocityError
from velocity.files import read_text

DEFINITIONS = Path("ablations.yaml")
WORKSPACES = Path(".dvc/tmp/ablation")
CODE = ["dvc.yaml", "velocity", "data/accepted.json"]  # what a result depends on besides its parameters


@section
class Overlay:
    """A row as it is written: what it does otherwise than the baseline."""

    title: str
    overlay: dict[str, Any] = field(default_factory=dict)


@section
class Definitions:
    """``ablations.yaml``."""

    baseline: str
    rows: dict[str, Overlay]
    common: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """``params``: the text of its params.yaml; ``experiment``: the name DVC has for it."""

    name: str
    title: str
    params: str
    experiment: str

    @property
    def workspace(self) -> Path:
        return WORKSPACES / self.experiment


def load_definitions(path: Path = DEFINITIONS) -> Definitions:
    """Raises VelocityError on one line for a file that is missing or faulty, and for a baseline that is no row."""
    try:
        document = YAML(typ="safe").load(read_text(path, "run this in the project's folder"))
        definitions = TypeAdapter(Definitions).validate_python(document)
    except YAMLError as error:
        raise VelocityError(f"{path}: not YAML") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise VelocityError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if definitions.baseline not in definitions.rows:
        raise VelocityError(f"{path}: baseline: {definitions.baseline!r} is not one of the rows")
    return definitions


def chosen_rows(definitions: Definitions, names: Sequence[str], profiles: Sequence[str]) -> list[Row]:
    """The rows of ``names`` (all, when there are none) and the baseline, each with its parameters and experiment.

    Parameters and code are those of the last commit. Raises VelocityError for an unknown row or profile and for
    parameters that are not valid.
    """
    if unknown := sorted(set(names) - definitions.rows.keys()):
        raise VelocityError(f"{DEFINITIONS}: no row {unknown[0]!r}; there are {', '.join(definitions.rows)}")
    committed, code = git("show", f"HEAD:{PARAMS_FILE}"), git("ls-tree", "HEAD", "--", *CODE)
    rows = []
    with TemporaryDirectory() as temporary:
        for name, row in definitions.rows.items():
            if names and name not in {*names, definitions.baseline}:
                continue
            params = Path(temporary, PARAMS_FILE)
            params.write_text(committed, encoding="utf-8")
            for profile in profiles:
                apply_profile(profile, params)
            for part in (definitions.common, row.overlay):
                overlay = Path(temporary, f"{name}.yaml")
                YAML().dump(part, overlay)
                try:
                    apply_profile(str(overlay), params)
                except VelocityError as error:
                    raise VelocityError(f"{DEFINITIONS}: row {name}: {str(error).partition(': ')[2]}") from error
            text = params.read_text(encoding="utf-8")
            digest = hashlib.sha256(f"{code}\n{text}".encode()).hexdigest()
            rows.append(Row(name, row.title, text, f"ablation-{name}-{digest[:10]}"))
    return rows
