"""The project's own files, relative to its folder: what each stage reads and writes."""

from __future__ import annotations

from pathlib import Path

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


def test_manifests(folder: Path = Path()) -> list[Path]:
    """The manifests of the prepared test sets of the project in ``folder``, sorted."""
    return sorted((folder / PREPARED).glob("test-*.jsonl"))
