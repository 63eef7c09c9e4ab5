"""The project's own files, relative to its folder. Nothing else reads dvc.yaml and dvc.lock."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARAMS = Path("params.yaml")
PROFILES = Path("profiles")

ACCEPTED = Path("data/accepted.json")  # distributions that later deliveries are compared with
DOWNLOADS = Path("data/downloads")
RAW = Path("data/raw")  # one folder a corpus
MANIFESTS = Path("data/manifests")  # one folder a corpus
PARTS = Path("data/parts")  # measurements that survive an interruption
VALIDATED = Path("data/validated")
EXCLUSIONS = VALIDATED / "exclusions.jsonl"
DISTRIBUTIONS = VALIDATED / "distributions.json"
PREPARED = Path("data/prepared")
TRAIN = PREPARED / "train.jsonl"
PRETRAIN = PREPARED / "pretrain.jsonl"
VALIDATION = PREPARED / "validation.jsonl"
TOKENIZER = PREPARED / "tokenizer.model"
FEATURES = PREPARED / "features.json"  # mean and spread of each mel bin
PREPARED_SUMMARY = PREPARED / "summary.json"

CHECKPOINTS = Path("models/checkpoints")
PRETRAINED = Path("models/pretrained.safetensors")
FINETUNED = Path("models/finetuned.safetensors")
CALIBRATION = Path("models/calibration.json")
EXPORTED = Path("models/export")  # one folder a target

REPORTS = Path("reports")
VALIDATION_SUMMARY = REPORTS / "validation/summary.json"
FINDINGS = REPORTS / "validation/findings.jsonl"
DATA_DOCS = REPORTS / "validation/data_docs"
ERROR_REPORTS = REPORTS / "errors"
METRICS = REPORTS / "metrics.json"
BENCHMARK = REPORTS / "benchmark.json"
REPORT = REPORTS / "README.md"
MODEL_CARD = REPORTS / "MODEL_CARD.md"


def test_manifests(folder: Path = Path()) -> list[Path]:  # noqa: PT028  (no test of pytest)
    """The manifests of the prepared test sets of the project in ``folder``, sorted."""
    return sorted((folder / PREPARED).glob("test-*.jsonl"))


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or ``mlflow.db`` in the project: not in the copy in which DVC runs an experiment."""
    root = Path(os.environ.get("DVC_ROOT", ""))
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def local_database(uri: str) -> Path | None:
    """The file of ``sqlite:///path``; None for a server or another database."""
    local = re.fullmatch(r"sqlite:///(.+)", uri)
    return Path(local[1]) if local else None


def store_exists(uri: str) -> bool:
    """False for a local database that nothing was recorded in yet: MLflow would create it, were it only to look."""
    database = local_database(uri)
    return database is None or database.exists()


def locked_stages() -> dict[str, Any]:
    """dvc.lock: stage → its ``deps`` and ``outs`` with paths and hashes, and its ``params``. Empty without a lock."""
    return _read_yaml("dvc.lock").get("stages", {})


def locked_outputs(stages: Mapping[str, Any] | None = None) -> dict[str, tuple[str, str]]:
    """Output path → (the stage that writes it, its MD5 as DVC computes it), as dvc.lock says."""
    stages = locked_stages() if stages is None else stages
    return {
        out["path"]: (name, out["md5"])
        for name, entry in stages.items()
        for out in entry.get("outs", [])
        if "md5" in out
    }


def declared(stage: str, kind: str) -> list[str]:
    """The paths that dvc.yaml lists for a stage under ``kind``: "deps", "outs", "metrics". Of a foreach stage, as
    ``export@onnx``, ``${key}``, ``${item.…}`` and parameters are filled in; unknown templates stay."""
    name, _, key = stage.partition("@")
    entry = _read_yaml("dvc.yaml").get("stages", {}).get(name, {})
    listed = entry.get("do", entry).get(kind, [])
    paths = [next(iter(path)) if isinstance(path, Mapping) else path for path in listed]
    return [_filled(path, key, entry.get("foreach")) for path in paths]


def stage_inputs(stage: str) -> dict[Path, tuple[str, str]]:
    """What ``stage`` reads of other stages' outputs: path → (the stage that writes it, its MD5 in dvc.lock)."""
    deps = [Path(path) for path in declared(stage, "deps")]
    return {
        Path(path): (writer, digest)
        for path, (writer, digest) in locked_outputs().items()
        if writer != stage and any(overlap(Path(path), dep) for dep in deps)
    }


def overlap(one: Path, other: Path) -> bool:
    """Whether the paths are the same, or one lies inside the other."""
    return one == other or one in other.parents or other in one.parents


def _filled(path: str, key: str, foreach: Any) -> str:
    item = foreach.get(key) if isinstance(foreach, Mapping) else None

    def value(match: re.Match[str]) -> str:
        found: Any = _read_yaml(str(PARAMS)) | {"key": key, "item": item}
        for name in match[1].split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return match[0] if found is None else str(found)

    return re.sub(r"\$\{([\w.-]+)\}", value, path)


def _read_yaml(path: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return (YAML(typ="safe").load(Path(path)) if Path(path).exists() else None) or {}
