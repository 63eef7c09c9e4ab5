"""Checkpoints of a running training: whole or absent, without pickle, resumed only by the same training.

A checkpoint holds no random state: every draw follows from the seed and the step (``training.loop``), and every
distortion from the seed and the position in the data, so step and position suffice.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from velocity.config.optimisation import Optimisation
from velocity.files import atomic_directory
from velocity.project import CHECKPOINTS
from velocity.training.optimiser import bends, schedule_before

STATE, CHECKSUMS = "state.json", "checksums.json"


class Checkpoints:
    """The last ``keep`` checkpoints of one training: ``models/checkpoints/<name>/<step>-<fingerprint>/``.

    ``fingerprint(step)`` stands for everything the state after ``step`` steps depends on: checkpoints of another one
    are not restored, and the first ``save`` removes them. The checkpoint after the step ``lasting`` (0: none) stays
    when the training goes on and when it has ended: one with more steps, which until then is the same, begins there.
    """

    def __init__(self, name: str, fingerprint: Callable[[int], str], keep: int = 2, lasting: int = 0) -> None:
        self.path, self.fingerprint, self.keep, self.lasting = CHECKPOINTS / name, fingerprint, keep, lasting

    def save(self, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> bool:
        """Write groups of tensors, a file each, and ``state`` as JSON.

        If that fails, as on a full disk, print a warning, keep the older checkpoints and return False.
        """
        target = self._folder(step)
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
        self._remove_but([path for path in self._own() if path.name <= target.name][-self.keep :])
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
        """Remove all but the lasting one."""
        if self.path.exists():
            self._remove_but([])
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def _remove_but(self, kept: list[Path]) -> None:
        lasting = self._folder(self.lasting)
        for path in self.path.iterdir():
            if path not in kept and path != lasting:
                shutil.rmtree(path, ignore_errors=True)

    def _folder(self, step: int) -> Path:
        return self.path / f"{step:08d}-{self.fingerprint(step)[:16]}"

    def _own(self) -> list[Path]:
        """The checkpoints of this training, oldest first."""
        found = sorted(self.path.glob("[0-9]*-*"))
        return [path for path in found if path.name[:8].isdecimal() and path == self._folder(int(path.name[:8]))]


def checkpoints_of(
    name: str, parts: Iterable[str | Path], settings: Optimisation, change: int | None = None
) -> Checkpoints:
    """The checkpoints of a training that depends on ``parts``, its learning rate, and what changes after ``change``.

    Until its rate falls, and until ``change``, it is the same training as one with more steps, and shares the
    checkpoints. The last of these stays: raise ``steps``, and the training goes on from there.
    """
    mark, (warmup, falling) = fingerprint(parts), bends(settings)

    def depends_on(step: int) -> str:
        changed = change if change is not None and step > change else None
        return fingerprint([mark, str((schedule_before(step, settings), changed))])

    shared = falling if change is None else min(falling, change)
    return Checkpoints(name, depends_on, settings.keep_checkpoints, shared if shared > warmup else 0)


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
