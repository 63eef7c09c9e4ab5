"""The whole of params.yaml: one field a section, each also what its DVC stage lists under ``params``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from velocity.config.calibration import Calibration
from velocity.config.corpora import Corpus, CorpusName
from velocity.config.data import Preparation, Validation
from velocity.config.evaluation import Benchmarking, Evaluation
from velocity.config.finetuning import Finetuning
from velocity.config.gate import Gate
from velocity.config.model import ModelConfig
from velocity.config.pretraining import Pretraining
from velocity.config.reader import PARAMS_FILE, parse, read_params
from velocity.config.section import Count, CountOrZero, section

ModelName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


@section
class Params:
    name: ModelName | None  # of what is exported; None: of the corpora
    seed: CountOrZero
    threads: Count
    corpora: dict[CorpusName, Corpus]
    validate: Validation
    prepare: Preparation
    model: ModelConfig
    pretrain: Pretraining
    finetune: Finetuning
    calibrate: Calibration
    evaluate: Evaluation
    benchmark: Benchmarking
    gate: Gate


def load_params(path: str | Path = PARAMS_FILE) -> Params:
    """Read and check every key. Raises VelocityError, on one line, naming the key that is missing, unknown or wrong."""
    return parse_params(read_params(path), str(path))


def parse_params(document: Any, source: str = "params") -> Params:
    """A plain dictionary → Params. Raises VelocityError naming the first wrong key of ``source``."""
    return parse(Params, document, source)
