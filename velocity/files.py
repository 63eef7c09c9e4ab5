"""Atomic writing of files and folders, and DVC's hashes of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_NAME = 255  # bytes


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; it replaces ``path`` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """The temporary path for ``path``; a long name is shortened, as file systems take 255 bytes."""
    end = f".{os.getpid()}.partial"
    name = os.fsencode(path.name)
    if len(name) + len(end) + 1 > LONGEST_NAME:
        digest = hashlib.blake2b(name, digest_size=8).hexdigest()
        name = name[: LONGEST_NAME - len(end) - len(digest) - 1].decode("utf-8", "ignore").encode() + digest.encode()
    return path.with_name(f".{os.fsdecode(name)}{end}")


def user_cache() -> Path:
    """This package's folder in the user's cache (XDG Base Directory Specification); it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "velocity-asr"


def dvc_hash(path: Path) -> str:
    """DVC's hash: the MD5 of a file; for a folder, of the sorted list of its files' names and hashes, with ".dir"."""
    if path.is_file():
        return md5(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listed = [{"md5": md5(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir"


def md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_lines(path: str | Path, values: Iterable[Any]) -> None:
    """Write one JSON value per line, as they arrive."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def write_json(path: str | Path, value: Any) -> None:
    """Write sorted, indented JSON: the same bytes for the same value."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
