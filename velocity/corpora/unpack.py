"""Archives onto the disk, member by member, trusting none: what could leave the folder or fill the disk is refused.

Nothing but plain files and folders is ever written, so no member can be reached through a link that another one made.
Files are created anew, with the permissions of this user and without those of the archive.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import IO

from velocity.errors import VelocityError
from velocity.progress import Progress

RATIO = 20  # times an archive may grow; speech grows up to 1.4 times, text 10 times
SMALL = 64 << 20  # bytes that any archive may grow to
MEMBER = 512  # bytes that a member counts beside its content: many empty files are a bomb, too
HEADERS = 1 << 20  # bytes between the contents of two members of a tar file
LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes, as of common file systems
BLOCK = 1 << 20  # bytes copied at once
MB = 1_000_000

KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class _Refused(Exception):
    pass


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a tar file (plain, gzip, bzip2, xz) into ``folder``.

    Raises VelocityError, naming the archive and the member, for an absolute path, ``..``, a link, a device, a member
    that is there twice, a name too long or not UTF-8, content beyond RATIO times the archive, an archive that is cut
    or damaged, and a full disk. What was written until then stays: unpack into a folder that is thrown away on errors.
    """
    archive, folder = Path(archive), Path(folder)
    name = ""
    try:
        size = archive.stat().st_size
        if (free := shutil.disk_usage(folder).free) < size:  # speech is hardly smaller packed
            raise _Refused(f"needs {size / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free")
        budget = max(RATIO * size, SMALL)
        with open(archive, "rb") as file, Progress(f"unpack {archive.name} (MB)", size // MB) as progress:
            for member, content in _members(file):
                name = member.name
                budget -= MEMBER + member.size
                if budget < 0:
                    raise _Refused(f"grows beyond {RATIO} times the archive: a decompression bomb")
                _write(member, content, folder)
                progress.advance(file.tell() // MB - progress.done)
    except _Refused as error:
        raise VelocityError(f"{archive}: {f'member {name!r} ' if name else ''}{error}; nothing is kept") from error
    except DAMAGE as error:
        behind = f" after {name!r}" if name else ""
        raise VelocityError(f"{archive}: damaged{behind} ({error}); delete it and run the stage again") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise VelocityError(f"{folder}: the disk is full while {archive.name} is unpacked; make room") from error
        raise VelocityError(f"{archive}: {name}: {(error.strerror or str(error)).lower()}") from error


def member_path(name: str) -> Path:
    """The relative path a member's name means. Raises _Refused where it is not below the folder, or cannot be made."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Refused("has a name that is not UTF-8") from error
    if not name.isprintable():
        raise _Refused("has a name with control characters")
    path = PureWindowsPath(name)  # knows of / and of \, of drives and of servers
    if path.anchor:
        raise _Refused("is an absolute path")
    if ".." in path.parts:
        raise _Refused("has '..' in its path")
    if not path.parts:
        return Path()
    if len(encoded) > LONGEST_PATH or max(len(part.encode("utf-8")) for part in path.parts) > LONGEST_NAME:
        raise _Refused("has a name that is too long")
    return Path(*path.parts)


def _write(member: tarfile.TarInfo, content: IO[bytes] | None, folder: Path) -> None:
    path = folder / member_path(member.name)
    if member.isdir():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise _Refused("is a folder, and was a file before") from error
        return
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise _Refused(f"is {KINDS.get(member.type, 'neither file nor folder')}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = open(path, "xb")  # noqa: SIM115  (a failure to open is another one than a failure to write)
    except (FileExistsError, NotADirectoryError) as error:
        raise _Refused("is there twice") from error
    with target, content:
        left = member.size
        while block := content.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise _Refused("is longer than it says")
            target.write(block)
    if left:
        raise _Refused(f"is {left} bytes shorter than it says")
    with suppress(OSError, OverflowError):
        os.utime(path, (member.mtime, member.mtime))  # so that unpacking again changes no file


def _members(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """With their contents, in the order of the archive; each must be read before the next one is asked for."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        yield from _tar_members(gzip.GzipFile(fileobj=file))
    elif start.startswith(b"BZh"):
        yield from _tar_members(bz2.BZ2File(file))
    elif start.startswith(b"\xfd7zXZ\0"):
        yield from _tar_members(lzma.LZMAFile(file))  # noqa: SIM115
    else:
        yield from _tar_members(file)


def _tar_members(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    metered = _Metered(file)
    with tarfile.open(fileobj=metered, mode="r|", bufsize=BLOCK // 8) as tar:
        while member := tar.next():
            metered.left = member.size + HEADERS
            yield member, tar.extractfile(member) if member.isreg() else None
            metered.left = HEADERS
            tar.members = []  # or the list of all members would grow with the archive
        if tar.fileobj.tell() == tar.offset:  # no block of zeros was read, which ends a tar file
            raise EOFError("it ends between two members")
    while metered.read(BLOCK):  # to the end, where gzip and its like keep their check sums
        pass


class _Metered:
    """A file that gives no more than ``left`` bytes: headers of a tar file may claim any length, and are read whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.left = file, HEADERS

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise _Refused("is followed by more than the headers of a tar file")
        return block
