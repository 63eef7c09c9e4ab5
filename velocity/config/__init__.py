"""Every knob of ``params.yaml`` as frozen dataclasses, and the strict reader that names the key it does not like.

One dataclass a section; a section is also what its DVC stage lists under ``params``.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from velocity.config.corpora import Corpus
from velocity.config.data import Preparation, Validation
from velocity.config.gate import Gate
from velocity.config.model import ModelConfig
from velocity.config.section import section
from velocity.config.training import Calibration, Finetuning, Pretraining
from velocity.errors import VelocityError, without_credentials

PARAMS_FILE = Path("params.yaml")


@section
class Evaluation:
    bootstrap: int = 1000  # resamples for the 95 % interval
    worst: int = 30  # utterances listed in the error report


@section
class Benchmarking:
    repeats: int = 7
    lengths: tuple[float, ...] = (1.0, 5.0, 10.0, 30.0, 60.0)  # seconds


@section
class Params:
    seed: int
    threads: int
    corpora: dict[str, Corpus]
    validate: Validation
    prepare: Preparation
    model: ModelConfig
    pretrain: Pretraining
    finetune: Finetuning
    calibrate: Calibration
    evaluate: Evaluation
    benchmark: Benchmarking
    gate: Gate = field(default_factory=Gate)


def load_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check ``params.yaml`` (YAML 1.2, as DVC reads it).

    Raises VelocityError, on one line, for a missing file, a syntax error, an unknown or missing key, a wrong type or
    an impossible combination; the message names the key.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = Path(path).read_text(encoding="utf-8")
        document = YAML(typ="safe").load(text)
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; run this in the project's folder") from error
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise VelocityError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if without_credentials(line) != line:
            reason = "a password, which git, dvc.lock and MLflow would keep; the environment may hold it"
            raise VelocityError(f"{path} line {number}: {reason} (docs/servers.md)")
    return parse_params(document, str(path))


def parse_params(document: Any, source: str = "params") -> Params:
    """A plain dictionary → Params. Raises VelocityError naming the first faulty key of ``source``."""
    try:
        return TypeAdapter(Params).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        parts = list(first["loc"])
        if len(parts) > 2 and parts[0] == "corpora":
            del parts[2]  # pydantic's name of the corpus kind, not a key of the file
        key = ".".join(map(str, parts))
        what = {
            "unexpected_keyword_argument": "unknown key",
            "missing": "missing key",
            "dataclass_type": "must be a section of keys",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise VelocityError(f"{source}: {key}: {what}{more}") from error
