"""Atomic writing of files and folders, the walk over a tree, and DVC's hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from velocity.errors import VelocityError

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


def check_replaceable(folder: Path, mark: str) -> None:
    """Raises VelocityError when ``atomic_directory`` would remove what is no earlier result: a folder that is not empty
    and has no file ``mark``, or the current folder."""
    if folder.exists() and folder.resolve() == Path.cwd():
        raise VelocityError(f"{folder}: is the current folder, which would be replaced; name another one")
    if folder.exists() and not folder.is_dir():
        raise VelocityError(f"{folder}: is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise VelocityError(f"{folder}: holds other files, which would be removed; name another folder")


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


def walk(folder: str | Path) -> Iterator[Path]:
    """Every file below ``folder``: folder by folder in the order of names, then what links to other folders add.

    Paths begin as ``folder`` does. A folder is entered once, by its identity on the disk, and none by a link from
    inside it: links cannot loop. Links that lead nowhere are among the files; pipes, devices and what macOS puts beside
    files (``._*``, ``__MACOSX``) are not. A folder that cannot be read is named on stderr.
    """
    entered, pending = set(), [os.fspath(folder)]
    for start in pending:  # grows by the links that are found
        for parent, folders, files in os.walk(start, onerror=_name_unreadable):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if name != "__MACOSX")
            links = (path for name in folders if os.path.islink(path := os.path.join(parent, name)))
            pending += (link for link in links if not _contains(os.path.realpath(link), os.path.realpath(parent)))
            paths = (Path(parent, name) for name in sorted(files) if not name.startswith("._"))
            yield from (path for path in paths if path.is_file() or not path.exists())


def _contains(folder: str, other: str) -> bool:
    return os.path.commonpath([folder, other]) == folder


def _name_unreadable(error: OSError) -> None:
    print(f"warning: {error.filename}: {error.strerror}; what is in it is left out", file=sys.stderr)


def has_linked_folders(folder: str | Path) -> bool:
    """Whether links to folders are below ``folder``, behind which DVC sees nothing."""
    return any(os.path.islink(os.path.join(parent, name)) for parent, names, _ in os.walk(folder) for name in names)


def dvc_hash(path: Path) -> str:
    """DVC's hash: the MD5 of a file; for a folder, of the sorted list of its files' names and hashes, with ".dir".

    DVC does not look behind links to folders, and so neither does this.
    """
    if path.is_file():
        return md5(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listed = [{"md5": md5(file), "relpath": name} for name, file in files]
    return hashlib.md5(json.dumps(listed).encode()).hexdigest() + ".dir"


def md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def read_text(path: str | Path, missing: str = "") -> str:
    """A text that a user has written, a byte-order mark left out.

    Raises VelocityError when it cannot be read (``missing``: what to do then) and when it is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}{f'; {missing}' if missing else ''}") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def standard_input() -> BinaryIO:
    """Raises VelocityError when it is closed (``<&-``, and services without one)."""
    if sys.stdin is None:
        raise VelocityError("standard input is closed: pipe audio into the command, or name a file")
    return sys.stdin.buffer


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
