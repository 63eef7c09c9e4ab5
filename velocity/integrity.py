"""Whether what a stage reads is what the stages before it wrote, byte by byte.

DVC trusts its cache: it hashes a file once and later compares only time and size. A failing disk, or a tool that
writes into the cache, would go unnoticed into a training. So ``velocity.run`` hashes each input of a stage once more.
The result is kept for as long as names, sizes, times and inodes stay the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from velocity.errors import VelocityError
from velocity.files import dvc_hash, md5, write_json
from velocity.project import stage_inputs

VERIFIED = Path(".dvc/tmp/velocity-verified.json")  # path → [hash in dvc.lock, digest of names, sizes, times, inodes]


def check_inputs(stage: str | None) -> None:
    """Raises VelocityError when an input of ``stage`` (its name in DVC; None: not run by DVC) differs from dvc.lock.

    What is damaged in DVC's cache is then removed, with what came out of there: DVC fetches it or makes it anew. An
    input that differs and is well in the cache stays, with a new time, so that DVC sees what it is.
    """
    if stage is None:
        return
    try:
        verified = json.loads(VERIFIED.read_text())
    except (OSError, ValueError):
        verified = {}
    before = dict(verified)
    for path, (writer, digest) in stage_inputs(stage).items():
        now = [digest, _look(path)]
        if path.exists() and verified.get(str(path)) != now:
            if dvc_hash(path) != digest:
                damaged = discard(path, digest)
                raise VelocityError(
                    f"{path}: differs from what {writer} wrote (dvc.lock); removed {damaged} damaged files from DVC's "
                    "cache; run `dvc repro` again to restore it"
                )
            verified[str(path)] = now
    if verified != before:
        write_json(VERIFIED, verified)


def discard(path: Path, digest: str) -> int:
    """Remove from DVC's cache each file of ``path`` whose bytes do not match its name; return their count.

    ``path`` goes with them; when the cache is well, it only gets a new time.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        cache = Path(repo.cache.local.path)
    names, damaged = [digest], 0
    if digest.endswith(".dir"):
        with suppress(OSError, ValueError):  # the list itself may be lost or damaged
            names += [entry["md5"] for entry in json.loads(_cached(cache, digest).read_bytes())]
    for name in dict.fromkeys(names):
        file = _cached(cache, name)
        if file.exists() and md5(file) != name.removesuffix(".dir"):
            file.unlink()
            damaged += 1
    if not damaged:
        for file in _files(path):
            file.touch()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return damaged


def _cached(cache: Path, name: str) -> Path:
    return cache / name[:2] / name[2:]


def _files(path: Path) -> Iterator[Path]:
    """The file ``path`` itself, or all below it."""
    return (file for file in (path, *path.rglob("*")) if file.is_file())


def _look(path: Path) -> str:
    """A digest of names, sizes, times and inodes at and below ``path``."""
    digest = hashlib.md5()
    for file in sorted(_files(path)):
        stat = file.stat()
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\0".encode())
    return digest.hexdigest()
