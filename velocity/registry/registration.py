"""A version of the registered model: what the pipeline has exported, with everything that was measured of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from velocity.artefacts.target import RELEASED
from velocity.errors import VelocityError, without_credentials
from velocity.files import dvc_hash, md5, walk, write_json
from velocity.journal import flatten
from velocity.project import BENCHMARK, EXPORTED, FINETUNED, METRICS, MODEL_CARD, locked_outputs, locked_stages
from velocity.registry.champions import NAME, Registry
from velocity.registry.lineage import BASE_MODEL, MODEL, PARENT, lineage
from velocity.registry.provenance import provenance
from velocity.tracking.ledger import Ledger
from velocity.tracking.model import log_model
from velocity.tracking.origins import origin_tags

DIGEST = "digest"
PROVENANCE = "provenance.json"  # beside metrics.json in the registered model
DESCRIPTION = 5000  # characters that MLflow keeps of a version's description


@dataclass(frozen=True)
class Release:
    """What is registered, read from the project in the current folder."""

    exported: Sequence[Path]  # the folders of all artefacts
    metrics: dict[str, Any]
    benchmark: dict[str, Any]
    card: str

    @classmethod
    def load(cls) -> Release:
        """Raises VelocityError when a file is missing, or belongs to another model by dvc.lock."""
        exported = sorted(path.parent for path in EXPORTED.glob("*/config.json"))
        if EXPORTED / RELEASED not in exported:
            raise VelocityError(f"{EXPORTED / RELEASED}: no exported model; `dvc repro` makes it")
        check_lock()
        release = cls(exported, _read(METRICS), _read(BENCHMARK), _text(MODEL_CARD))
        for path, figures in ((METRICS, release.metrics["parity"]), (BENCHMARK, release.benchmark["artefacts"])):
            if RELEASED not in figures:
                raise VelocityError(f"{path}: no figures of {RELEASED}; `dvc repro` makes it again")
        return release

    @property
    def artefacts(self) -> list[Path]:
        """What is released. That of ``RELEASED`` always: it is what the gate judges, by its parity as well."""
        return [folder for folder in self.exported if folder.name not in self.left_out]

    @property
    def left_out(self) -> dict[str, str]:
        """Artefacts that are not released, and why: parity failed or was not measured."""
        parity = self.metrics["parity"]
        return {
            name: "; ".join(parity[name]["failed"]) if name in parity else "parity was not measured"
            for name in (folder.name for folder in self.exported)
            if name != RELEASED and not parity.get(name, {}).get("passed")
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the artefacts and of what was measured on the test sets: a version is registered once."""
        digest = hashlib.sha256(METRICS.read_bytes())
        for path in sorted(path for folder in self.artefacts for path in walk(folder)):
            digest.update(f"\0{path}\0".encode() + path.read_bytes())
        return digest.hexdigest()

    def tags(self) -> dict[str, str]:
        """What MLflow shows beside the version: figures of the INT8 artefact, and what it was made from."""
        speed, parity = self.benchmark["artefacts"][RELEASED], self.metrics["parity"][RELEASED]
        figures = {key: speed[key] for key in ("bytes", "rtf_1thread", "peak_rss_bytes")}
        figures["params"] = self.metrics["params"]
        figures["parity"] = "passed" if parity["passed"] else "; ".join(parity["failed"])
        figures |= {f"left_out/{name}": why for name, why in self.left_out.items()}
        for name, artefacts in self.metrics["test_sets"].items():
            low, high = artefacts[RELEASED]["wer_ci95"]
            figures |= {f"wer/{name}": artefacts[RELEASED]["wer"], f"wer_ci95/{name}": f"{low} to {high}"}
        origin = {f"origin/{key}": str(value) for key, value in provenance(FINETUNED).items() if key != "data"}
        tags = origin_tags("evaluate") | origin | {key: str(value) for key, value in figures.items()}
        tags = {key: without_credentials(value) for key, value in tags.items()}
        return tags | lineage() | {DIGEST: self.digest}

    def numbers(self) -> list[list[Any]]:
        """Every figure of the reports as a metric: [name, value, time in ms, step]."""
        now = int(time.time() * 1000)
        return [
            [name, float(value), now, 0]
            for name, value in flatten({**self.metrics, "benchmark": self.benchmark["artefacts"]})
            if isinstance(value, int | float)
        ]

    def description(self) -> str:
        more = "\n\nMore in the card kept with the run."
        return self.card if len(self.card) <= DESCRIPTION else self.card[: DESCRIPTION - len(more)] + more


def register(registry: Registry) -> str:
    """Register what the project in the current folder has exported, as the challenger; returns the version.

    The same artefacts with the same metrics are one version, which may be the champion already, and stays it. A version
    is there with all its files and tags or not at all: MLflow makes it in one write, once everything else is kept. If
    it was trained from the model of another version (``finetune.base``), the tag ``parent`` names that one.
    Raises VelocityError when a report is missing or is of another model.
    """
    release = Release.load()
    tags = release.tags()
    with registry.alone():
        version = _find(registry, DIGEST, tags[DIGEST])
        if version is None:
            parent = _find(registry, MODEL, tags[BASE_MODEL]) if BASE_MODEL in tags else None
            version = _create(registry, release, tags | ({PARENT: parent} if parent else {}))
        registry.challenge(version)
    return version


def registered(registry: Registry) -> str | None:
    """The version of what the project in the current folder has exported, None if it is not registered.

    Raises VelocityError as ``register``.
    """
    return _find(registry, DIGEST, Release.load().digest)


def _find(registry: Registry, tag: str, value: str) -> str | None:
    """The version with that tag; of several the newest."""
    found = registry.client.search_model_versions(f"name = '{NAME}'") if registry.exists else []
    versions = [int(version.version) for version in found if version.tags.get(tag) == value]
    return str(max(versions)) if versions else None


def _create(registry: Registry, release: Release, tags: dict[str, str]) -> str:
    """A run with figures, reports and model, resumed if a kill cut it off; then the version, made of that run."""
    ledger = Ledger(registry.uri, "register", tags[DIGEST])
    files = [{"artifact": str(path)} for path in (METRICS, BENCHMARK, MODEL_CARD)]
    messages = [{"tags": tags, "metrics": release.numbers()}, *files]
    ledger.send(messages)
    with TemporaryDirectory() as temporary:
        origin = Path(temporary, PROVENANCE)
        write_json(origin, provenance(FINETUNED))
        model = log_model(ledger.run_id, [*release.artefacts, METRICS, origin])
    ledger.send([*messages, {"close": "FINISHED"}])
    registry.make()
    kept = {"source": model, "run_id": ledger.run_id, "model_id": model.rpartition("/")[2]}
    made = registry.client.create_model_version(NAME, **kept, tags=tags, description=release.description())
    return str(made.version)


def check_lock() -> None:
    """Raises VelocityError when, by dvc.lock, a report is older than what it reports on, or is not that one."""
    stages = locked_stages()
    written = {path: digest for path, (_, digest) in locked_outputs(stages).items()}
    for name in ("evaluate", "benchmark"):
        for path, read in _hashes(stages.get(name, {}).get("deps", [])):
            made = dvc_hash(Path(path)) if path == str(EXPORTED) else written.get(path, read)
            if made != read:
                raise VelocityError(f"{path}: changed since {name} read it (dvc.lock); run `dvc repro`")
        for path, output in _hashes(stages.get(name, {}).get("outs", [])):
            if not Path(path).is_file() or md5(Path(path)) != output:
                raise VelocityError(f"{path}: changed since {name} wrote it (dvc.lock); run `dvc repro`")


def _hashes(entries: Sequence[dict[str, str]]) -> Iterator[tuple[str, str]]:
    return ((entry["path"], entry["md5"]) for entry in entries if "md5" in entry)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; `dvc repro` makes it") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise VelocityError(f"{path}: cannot be read as JSON; `dvc repro` makes it") from error
