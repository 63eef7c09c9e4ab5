"""The table of official archives (``archives.yaml``): where each is, how long, and the checksum published for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from velocity.errors import VelocityError
from velocity.files import read_text

MIRROR = "VELOCITY_MIRROR"  # environment: a base URL in place of the official one; paths stay the same


@dataclass(frozen=True)
class Archive:
    """One file to download. ``bytes`` and ``checksum`` are None where they are not published."""

    url: str
    bytes: int | None
    checksum: tuple[str, str] | None  # algorithm of hashlib, hexadecimal digest

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _Row:
    file: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class _Corpus:
    base: str
    archives: dict[str, _Row]


def load_archives(table: str | Path, corpus: str, parts: Iterable[str] | None = None) -> dict[str, Archive]:
    """Part → archive, in the order of ``parts`` (None: all that the table ``table`` has for ``corpus``).

    Raises VelocityError, naming the table, when it cannot be read or does not know the corpus or a part.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe").load(read_text(table, "source is velocity/corpora/archives.yaml"))
        corpora = TypeAdapter(dict[str, _Corpus]).validate_python(document)
    except YAMLError as error:
        raise VelocityError(f"{table}: not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise VelocityError(f"{table}: not a table of archives: {key}: {first['msg']}") from error
    if corpus not in corpora:
        raise VelocityError(f"{table}: has no archives of {corpus}; it has those of {', '.join(corpora)}")
    known = corpora[corpus].archives
    wanted = list(known if parts is None else parts)
    if unknown := [part for part in wanted if part not in known]:
        raise VelocityError(f"{table}: {corpus} has no part {unknown[0]!r}; it has {', '.join(known)}")
    base = os.environ.get(MIRROR) or corpora[corpus].base
    return {part: _archive(base, known[part]) for part in wanted}


def _archive(base: str, row: _Row) -> Archive:
    digests = {"sha256": row.sha256, "md5": row.md5}
    checksum = next(((algorithm, digest.lower()) for algorithm, digest in digests.items() if digest), None)
    return Archive(f"{base.rstrip('/')}/{row.file}", row.bytes, checksum)
