"""Checkpoints of a running training: whole or absent, without pickle, resumed only by the same training.

A checkpoint holds no random state: every draw follows from the seed and the step (``training.loop``), and every
distortion from the seed and the position in the data, so step and position suffice.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from velocity.files import atomic_directory
from velocity.project import CHECKPOINTS

STATE, CHECKSUMS = "state.json", "checksums.json"


class Checkpoints:
    """The last ``keep`` checkpoints of one training: ``models/checkpoints/<name>/<step>-<fingerprint>/``.

    ``fingerprint`` stands for everything the result depends on: checkpoints of another one are not restored, and the
    first ``save`` removes them.
    """

    def __init__(self, name: str, fingerprint: str, keep: int = 2) -> None:
        self.path, self.fingerprint, self.keep = CHECKPOINTS / name, fingerprint[:16], keep

    def save(self, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> bool:
        """Write groups of tensors, a file each, and ``state`` as JSON.

        If that fails, as on a full disk, print a warning, keep the older checkpoints and return False.
        """
        target = self.path / f"{step:08d}-{self.fingerprint}"
        try:
            with atomic_directory(target) as folder:
                for name, group in tensors.items():
                    save_file({key: value.contiguous() for key, value in group.items()}, folder / f"{name}.safetensors")
                (folder / STATE).write_text(json.dumps(state))
                (folder / CHECKSUMS).write_text(json.dumps({path.name: _digest(path) for path in folder.iterdir()}))
        except (OSError, SafetensorError) as error:
            older = [int(path.name[:8]) for path in self._own()]
            stays = f"the one after step {max(older)} is kept" if older else "there is none yet"
            print(f"warning: no checkpoint after step {step} in {self.path}: {error}; {stays}", flush=True)
            return False
        # Later ones than this are damaged, or the training would have resumed from them.
        kept = [path for path in self._own() if path.name <= target.name][-self.keep :]
        for path in self.path.iterdir():
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)
        return True

    def restore(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]] | None:
        """The tensors and state of the newest whole checkpoint of this training; None if there is none."""
        for folder in reversed(self._own()):
            try:
                for name, digest in json.loads((folder / CHECKSUMS).read_text()).items():
                    if _digest(folder / name) != digest:
                        raise ValueError(f"{name}: wrong checksum")
                tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
                return tensors, json.loads((folder / STATE).read_text())
            except (OSError, ValueError) as error:
                print(f"note: {folder}: skipped, damaged checkpoint ({error})", flush=True)
        return None

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _own(self) -> list[Path]:
        """The checkpoints of this training, oldest first."""
        return sorted(self.path.glob(f"[0-9]*-{self.fingerprint}"))


def fingerprint(parts: Iterable[str | Path]) -> str:
    """SHA-256 over texts and over the contents of files, however large."""
    digest = hashlib.sha256()
    for part in parts:
        with open(part, "rb") if isinstance(part, Path) else BytesIO(part.encode()) as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())  # digests of one length: no ambiguity
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
