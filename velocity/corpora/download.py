"""Archives over HTTP: a cut download goes on where it stopped, and only checked bytes get the final name.

What has come lies in ``<name>.part`` and survives a kill; a range request (RFC 9110, section 14) asks for the rest,
with If-Range, so that a file that changed on the server is begun anew instead of glued together.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import httpx
from filelock import FileLock

from velocity.corpora.archives import MIRROR, Archive
from velocity.errors import VelocityError
from velocity.files import write_text
from velocity.progress import Progress

SILENCE = 60.0  # seconds without a byte, or without a connection, until the connection is given up
FRUITLESS = 6  # tries in a row that bring nothing new, until the download is given up
BACK_OFF = 1.0  # seconds before the next try, doubled with each one that brought nothing
LONGEST_BACK_OFF = 60.0
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be gone at the next try
HEADROOM = 100_000_000  # bytes of the disk that a download leaves free
BLOCK = 1 << 20  # bytes read at once to compute a checksum
MB = 1_000_000


class _Cut(Exception):
    """This try is over, another one may do better."""


def download(archive: Archive, folder: str | Path) -> Path:
    """The archive as ``folder/<its name>``, downloaded unless it is there, its length and checksum verified.

    Raises VelocityError, on one line, when the server refuses or has another file, when FRUITLESS tries in a row
    brought nothing, when the disk is full, and when length or checksum are wrong: the file is then renamed to
    ``<its name>.rejected``.
    """
    target = Path(folder, archive.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):  # two corpora may want the same archive at once
        if target.exists():
            _verify(archive, target)
        else:
            part = target.with_name(f"{target.name}.part")
            _bring(archive, part)
            _verify(archive, part)
            with open(part, "rb") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
            _validator(part).unlink(missing_ok=True)
    return target


def _bring(archive: Archive, part: Path) -> None:
    """Try until ``part`` has as many bytes as the server says that the archive has."""
    furthest, fruitless = _size(part), 0
    with (
        httpx.Client(follow_redirects=True, timeout=SILENCE) as client,
        Progress(f"download {archive.name} (MB)", (archive.bytes or 0) // MB, furthest // MB) as progress,
    ):
        while True:
            try:
                return _go_on(client, archive, part, progress)
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise VelocityError(f"{archive.url}: {error}; {_advice()}") from error
            except (httpx.TransportError, _Cut) as error:
                trouble = str(error) or type(error).__name__
            except OSError as error:
                raise _disk_error(error, part) from error
            reached = _size(part)
            fruitless = 0 if reached > furthest else fruitless + 1
            furthest = max(furthest, reached)
            if fruitless == FRUITLESS:
                kept = f"{furthest} bytes are kept in {part}; run the stage again to go on"
                raise VelocityError(f"{archive.url}: {trouble} ({FRUITLESS} tries brought nothing new); {kept}")
            print(f"{archive.name}: {trouble} at byte {reached}; trying again", file=sys.stderr, flush=True)
            time.sleep(min(BACK_OFF * 2**fruitless, LONGEST_BACK_OFF))


def _go_on(client: httpx.Client, archive: Archive, part: Path, progress: Progress) -> None:
    """Append to ``part`` what it lacks, by one request. Raises _Cut or a httpx error when it still lacks something."""
    have = _size(part)
    if archive.bytes is not None and have == archive.bytes:
        return
    headers = {"Accept-Encoding": "identity"}  # the bytes of the archive, not of a compressed transfer
    if have:
        headers["Range"] = f"bytes={have}-"
        if (validator := _validator(part)).exists():
            headers["If-Range"] = validator.read_text(encoding="utf-8")
    with client.stream("GET", archive.url, headers=headers) as response:
        start, total = _place(response, archive, part, have)
        if start == total:  # everything was here already
            return
        _check_space(archive, part, (total or 0) - start)
        _keep_validator(response, part)
        with open(part, "ab" if start else "wb") as file:
            for block in response.iter_raw():
                file.write(block)
                file.flush()  # a kill may come at any time
                progress.advance(file.tell() // MB - progress.done)
    if total is not None and _size(part) < total:
        raise _Cut(f"the connection ended {total - _size(part)} bytes early")


def _place(response: httpx.Response, archive: Archive, part: Path, have: int) -> tuple[int, int | None]:
    """Where in the file the body of the response starts, and how long the file is, if the server says so.

    Raises _Cut when the next try may be answered better, VelocityError when it will not.
    """
    status, start = response.status_code, 0
    content = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    total = int(content[2]) if content and content[2] != "*" else None
    if status == 416 and total == have:
        start = have
    elif status == 416 or (status == 206 and (not content or content[1] != str(have))):
        part.unlink(missing_ok=True)
        raise _Cut(f"the server has no bytes from {have} on (HTTP {status}); beginning anew")
    elif status == 206:
        start = have
    elif status == 200:  # the first try, a server without ranges, or a file that has changed
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    elif status in PASSING:
        raise _Cut(f"HTTP {status} {response.reason_phrase}")
    else:
        raise VelocityError(f"{archive.url}: HTTP {status} {response.reason_phrase}; {_advice()}")
    if archive.bytes is not None and total not in (None, archive.bytes):
        lengths = f"the server's file has {total} bytes, the published one {archive.bytes}"
        raise VelocityError(f"{archive.url}: {lengths}; {_advice()}")
    return start, archive.bytes if total is None else total


def _verify(archive: Archive, path: Path) -> None:
    size = path.stat().st_size
    if archive.bytes is not None and size != archive.bytes:
        _reject(archive, path, f"has {size} bytes, the published archive {archive.bytes}")
    if archive.checksum is None:
        known = "its length is right" if archive.bytes is not None else "nor is a length"
        print(f"{archive.name}: no checksum is published; {known}, and unpacking checks the rest", file=sys.stderr)
        return
    algorithm, published = archive.checksum
    found = hashlib.new(algorithm)
    with open(path, "rb") as file, Progress(f"check {archive.name} (MB)", size // MB) as progress:
        while block := file.read(BLOCK):
            found.update(block)
            progress.advance(file.tell() // MB - progress.done)
    if found.hexdigest() != published:
        _reject(archive, path, f"has {algorithm} {found.hexdigest()}, published is {published}")


def _reject(archive: Archive, path: Path, reason: str) -> None:
    rejected = path.with_name(f"{archive.name}.rejected")
    os.replace(path, rejected)
    _validator(path).unlink(missing_ok=True)
    raise VelocityError(f"{rejected}: wrong content: {reason}; run the stage again, or {_advice()}")


def _check_space(archive: Archive, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + HEADROOM:
        lacking = f"{archive.name} needs {(needed + HEADROOM) / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free"
        raise VelocityError(f"{part.parent}: {lacking}; make room, or link the folder to a larger disk")


def _disk_error(error: OSError, part: Path) -> VelocityError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return VelocityError(f"{part}: the disk is full; make room and run the stage again, the download goes on")
    return VelocityError(f"{part}: {(error.strerror or str(error)).lower()}")


def _validator(part: Path) -> Path:
    """The file that keeps what tells this version of the archive from others: its ETag or its date."""
    return part.with_name(f"{part.name}.version")


def _keep_validator(response: httpx.Response, part: Path) -> None:
    etag = response.headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag  # If-Range compares strongly
    if value := strong or response.headers.get("Last-Modified", ""):
        write_text(_validator(part), value)
    else:
        _validator(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _advice() -> str:
    mirror = os.environ.get(MIRROR)
    return f"check {MIRROR}={mirror}" if mirror else f"name a mirror by the environment variable {MIRROR}"
