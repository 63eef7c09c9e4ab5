"""ONNX Runtime Web, which runs the model in browsers: one version, from the npm registry into the user's cache."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from velocity.errors import VelocityError
from velocity.files import atomic_directory, atomic_path, user_cache
from velocity.progress import Progress

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = (  # of the package's dist/
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
REGISTRY = "https://registry.npmjs.org"
SILENCE = 60.0  # seconds without a byte until the download is given up
BLOCK = 1 << 18  # bytes read at once
MB = 1_000_000


def web_runtime() -> Path:
    """The folder with ``FILES``; at the first time the package is downloaded, checked and unpacked.

    A package that lies in the cache already is taken instead. Raises VelocityError when it cannot be had or is another
    one than ``INTEGRITY`` says.
    """
    cache = user_cache()
    folder, package = cache / f"{PACKAGE}-{VERSION}", cache / f"{PACKAGE}-{VERSION}.tgz"
    if not folder.is_dir():
        if not package.is_file():
            _download(package)
        _check(package)
        with atomic_directory(folder) as unpacked, tarfile.open(package) as archive:
            for name in FILES:  # by name: nothing else of the archive is looked at
                with archive.extractfile(f"package/dist/{name}") as source, open(unpacked / name, "wb") as target:
                    shutil.copyfileobj(source, target)
        package.unlink()
    return folder


def _download(package: Path) -> None:
    url = f"{_registry().rstrip('/')}/{PACKAGE}/-/{package.name}"
    try:
        with urllib.request.urlopen(url, timeout=SILENCE) as response, atomic_path(package) as partial:
            total = int(response.headers.get("Content-Length") or 0)
            with open(partial, "wb") as file, Progress(f"download {package.name} (MB)", total // MB) as progress:
                while block := response.read(BLOCK):
                    file.write(block)
                    progress.advance(file.tell() // MB - progress.done)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise VelocityError(
            f"{package.name} cannot be downloaded from {urlsplit(url).hostname} ({reason}). The page needs it: connect "
            f"to the network, set NPM_CONFIG_REGISTRY to another registry, or put the file into {package.parent}"
        ) from error


def _check(package: Path) -> None:
    with open(package, "rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != INTEGRITY:
        package.unlink()
        raise VelocityError(f"{package.name}: does not match the published SHA-512 of {PACKAGE} {VERSION}; deleted")


def _registry() -> str:
    """As npm would choose it: by the environment, by its own configuration where it is installed, or the public one."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name]
    if npm := shutil.which("npm"):
        asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith("http"):
            return asked.stdout.strip()
    return REGISTRY
