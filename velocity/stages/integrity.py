"""Whether what a stage reads is what the stages before it wrote, byte by byte.

DVC trusts the files of its cache and what it takes out of it: it hashes a file when it is made and then goes by time
and size. A disk that fails, or a tool that writes into the cache, would thus be trained on. So each stage hashes what
it reads, once: as long as names, sizes, times and inodes stay, so does the finding.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from velocity.errors import VelocityError
from velocity.files import dvc_hash, md5, write_json

FOUND = Path(".dvc/tmp/velocity-verified.json")  # {path: [hash in dvc.lock, digest of names, sizes, times and inodes]}


def check_inputs(stage: str | None) -> None:
    """Raises VelocityError when an input of ``stage`` (its name in DVC; None: not run by DVC) is not as dvc.lock says.

    What is damaged in DVC's cache is then removed, with what came out of there: DVC fetches it or makes it anew. An
    input that differs and is well in the cache stays, with a new time, so that DVC sees what it is.
    """
    if stage is None:
        return
    try:
        found = json.loads(FOUND.read_text())
    except (OSError, ValueError):
        found = {}
    before = dict(found)
    for path, (writer, digest) in inputs(stage).items():
        now = [digest, _look(path)]
        if path.exists() and found.get(str(path)) != now:
            if dvc_hash(path) != digest:
                damaged = discard(path, digest)
                raise VelocityError(
                    f"{path}: not the bytes that {writer} wrote, by dvc.lock, with {damaged} damaged files in DVC's "
                    "cache; run `dvc repro` again, and it is fetched or made anew"
                )
            found[str(path)] = now
    if found != before:
        write_json(FOUND, found)


def inputs(stage: str) -> dict[Path, tuple[str, str]]:
    """What ``stage`` reads of other stages' outputs: path → (name of that stage, its hash in dvc.lock)."""
    name, _, key = stage.partition("@")
    declared = _read_yaml("dvc.yaml")["stages"][name]
    deps = [Path(_filled(dep, key, declared.get("foreach"))) for dep in declared.get("do", declared).get("deps", [])]
    return {
        Path(out["path"]): (writer, out["md5"])
        for writer, entry in _read_yaml("dvc.lock").get("stages", {}).items()
        if writer != stage
        for out in entry.get("outs", [])
        if "md5" in out and any(_overlap(Path(out["path"]), dep) for dep in deps)
    }


def discard(path: Path, digest: str) -> int:
    """Remove from DVC's cache each file of ``path`` that is not what its name says; how many those were.

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


def _overlap(out: Path, dep: Path) -> bool:
    return out == dep or dep in out.parents or out in dep.parents


def _filled(dep: str, key: str, foreach: Any) -> str:
    """``dep`` of a foreach stage, with its ${key} and ${item.…}; other templates stay, and match no output."""
    dep = dep.replace("${key}", key)
    item = foreach.get(key, {}) if isinstance(foreach, Mapping) else {}
    for name, value in item.items():
        dep = dep.replace(f"${{item.{name}}}", str(value))
    return dep


def _files(path: Path) -> Iterator[Path]:
    """The file ``path`` itself, or all below it."""
    return (file for file in (path, *path.rglob("*")) if file.is_file())


def _look(path: Path) -> str:
    """A digest of what the file system says of ``path`` and all below it."""
    digest = hashlib.md5()
    for file in sorted(_files(path)):
        stat = file.stat()
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\0".encode())
    return digest.hexdigest()


def _read_yaml(path: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return (YAML(typ="safe").load(Path(path)) if Path(path).exists() else None) or {}
