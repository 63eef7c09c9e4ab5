"""Training audio in Lhotse Shar shards on any fsspec store: read in any order, and never on trust.

Millions of small files are slow to list and to read on most shared stores; thousands of large ones are not. A training
set ``<set>`` is ``<url>/<set>/cuts.NNNNNN.jsonl.gz`` and ``recording.NNNNNN.tar``, which ``CutSet.from_shar`` reads as
well. An index says what the store must hold: a training opens a shard only when its bytes are the ones named there.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.audio import SAMPLE_RATE, load_audio
from velocity.errors import VelocityError
from velocity.files import atomic_path

if TYPE_CHECKING:
    from lhotse import MonoCut

INDEX = "shards.json"
CACHE = Path("data/cache/shards")  # copies of shards from stores that are no local folder
OPENED = 200  # shards at a time
REPAIR = "dvc repro --force --single-item prepare writes what is missing"


def load_cut(cut: MonoCut, shards: Shards | None = None) -> np.ndarray:
    """The waveform of a cut, from its file or out of ``shards``: (samples,) float32 at 16 kHz.

    Raises VelocityError when it cannot be read, naming the file or the shard.
    """
    source = cut.recording.sources[0]
    if source.type == "shar":
        if shards is None:
            raise VelocityError(f"{INDEX}: missing, but the training set lies in shards; run the stage prepare again")
        return shards.load_audio(source.source)
    return load_audio(source.source, cut.start, cut.duration)[: round(cut.duration * SAMPLE_RATE)]


class Shards:
    """The shards of an index, opened as they are needed and verified as they are opened.

    Of a store that is not a local folder, copies are kept in ``cache``, of ``cache_bytes`` together at most, or of one
    shard if that is larger; who was not heard for longest goes first. Threads may share it.
    """

    def __init__(self, index: str | Path, cache_bytes: int, cache: Path = CACHE) -> None:
        """Raises VelocityError when ``index`` is missing or no such, or its store is of an unknown kind."""
        try:
            described = json.loads(Path(index).read_text(encoding="utf-8"))
            self._index = index
            self._store, self._files = Store(described["url"]), described["files"]
        except OSError as error:
            raise VelocityError(f"{index}: {error.strerror.lower()}; run the stage prepare first") from error
        except (ValueError, KeyError, TypeError) as error:
            raise VelocityError(f"{index}: not an index of shards; run the stage prepare again") from error
        self._cache, self._limit = Path(cache), cache_bytes
        self._opened: OrderedDict[str, Future[OpenShard]] = OrderedDict()  # the one used last comes last
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[Shards], tuple[Any, ...]]:
        """Another process opens them anew."""
        return Shards, (self._index, self._limit, self._cache)

    def load_audio(self, source: str) -> np.ndarray:
        """``source`` is <shard>#<member>, as in the cuts of a sharded training set: (samples,) float32 at 16 kHz."""
        import soundfile

        name, _, member = source.partition("#")
        try:
            return soundfile.read(io.BytesIO(self._shard(name).read(member)), dtype="float32")[0]
        except KeyError as error:
            raise VelocityError(f"{self._store.url}/{name}: has no {member}; remove it, {REPAIR}") from error

    def _shard(self, name: str) -> OpenShard:
        with self._lock:
            opening = name not in self._opened
            shard = self._opened.setdefault(name, Future())
            self._opened.move_to_end(name)
            while len(self._opened) > OPENED or self._opened_bytes() > self._limit:
                if (oldest := self._oldest()) == name:
                    break
                del self._opened[oldest]  # closed when the threads that read from it are done
        if opening:
            try:
                shard.set_result(self._open(name))
            except BaseException as error:
                shard.set_exception(error)
        return shard.result()

    def _oldest(self) -> str:
        """Of those that are not just being opened, else the newest."""
        done = (name for name, shard in self._opened.items() if shard.done())
        return next(done, next(reversed(self._opened)))

    def _opened_bytes(self) -> int:
        return sum(self._files[name]["bytes"] for name in self._opened if name in self._files)

    def _open(self, name: str) -> OpenShard:
        place, expected = f"{self._store.url}/{name}", self._files.get(name)
        if expected is None:
            raise VelocityError(f"{place}: not in {INDEX}; {REPAIR}")
        try:
            path = Path(self._store.path(name)) if self._store.local else self._copy(name, expected["sha256"])
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise VelocityError(f"{place}: no such shard; {REPAIR}") from error
        if digest == expected["sha256"]:
            return OpenShard(path)
        if not self._store.local:
            path.unlink()
        raise VelocityError(f"{place}: damaged (SHA-256 mismatch); remove it, {REPAIR}")

    def _copy(self, name: str, digest: str) -> Path:
        path = self._cache / f"{digest}.tar"
        if path.exists():
            os.utime(path)
        else:
            with atomic_path(path) as partial:
                self._store.get(name, partial)
            self._evict()
        return path

    def _evict(self) -> None:
        """Remove the copies that were opened longest ago until the rest keeps to the limit."""
        with self._lock:
            needed = {self._files[name]["sha256"] for name in self._opened if name in self._files}
        copies = [(path.stat().st_mtime_ns, path.stat().st_size, path) for path in self._cache.glob("*.tar")]
        excess = sum(size for _, size, _ in copies) - self._limit
        for _, size, path in sorted(copies):
            if excess > 0 and path.stem not in needed:
                path.unlink()
                excess -= size


class OpenShard:
    """A tar file in memory's reach, and where each of its members lies."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with tarfile.open(path) as tar:
            self._members = {member.name: (member.offset_data, member.size) for member in tar}

    def read(self, member: str) -> bytes:
        """Raises KeyError when there is no such member."""
        first, size = self._members[member]
        return self._bytes[first : first + size]


class Store:
    """A folder anywhere, as fsspec knows it by a URL; names in it are relative, errors are VelocityErrors."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = url.rstrip("/")
        try:
            self._files, self._root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:  # a kind of store that is unknown, or whose package is missing
            raise VelocityError(f"prepare.shards.url: {url}: {error}") from error
        self.local = isinstance(self._files, LocalFileSystem)

    def path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def size(self, name: str) -> int | None:
        """Bytes; None where there is no such file."""
        try:
            with self._naming(name):
                return self._files.info(self.path(name))["size"]
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any:
        """None where there is no such file, or half of one."""
        try:
            with self._naming(name):
                content = self._files.cat_file(self.path(name))
            return json.loads(content)
        except (FileNotFoundError, ValueError):
            return None

    def write_json(self, name: str, value: Any) -> None:
        with self._naming(name):
            self._make_folder(name)
            self._files.pipe_file(self.path(name), json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")

    def put(self, file: Path, name: str) -> None:
        with self._naming(name):
            self._make_folder(name)
            self._files.put_file(str(file), self.path(name))

    def get(self, name: str, file: Path) -> None:
        """Raises FileNotFoundError when there is no such file."""
        with self._naming(name):
            self._files.get_file(self.path(name), str(file))

    def remove(self, name: str) -> None:
        if self.size(name) is not None:
            self._files.rm_file(self.path(name))

    def names(self, folder: str) -> list[str]:
        """Of the files in ``folder``."""
        return [f"{folder}/{Path(path).name}" for path in self._files.ls(self.path(folder), detail=False)]

    def _make_folder(self, name: str) -> None:
        self._files.makedirs(self.path(name).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # no access, a full disk, no connection: each store has errors of its own
            raise VelocityError(f"{self.url}/{name}: {(str(error).splitlines() or [repr(error)])[0]}") from error
