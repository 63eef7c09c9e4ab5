"""Records that MLflow did not take before their stage had ended: kept in the project, sent with the next run's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials
from velocity.files import atomic_directory
from velocity.tracking.ledger import Ledger

MESSAGES = "messages.json"


def keep(folder: Path, ledger: Ledger) -> None:
    """What ``ledger`` could not send, with copies of the files it names, which may be others tomorrow.

    Passwords are left out, as they are when it is sent.
    """
    taken = [int(path.name) for path in folder.glob("[0-9]*")]
    with atomic_directory(folder / f"{max(taken, default=0) + 1:06d}") as kept:
        pending = [_copied(message, kept, f"{number:03d}") for number, message in enumerate(ledger.pending)]
        (kept / MESSAGES).write_text(json.dumps(_without_credentials({"first": ledger.first, "pending": pending})))


def send_kept(folder: Path, uri: str) -> None:
    """Send what was kept, the oldest first. Raises what MLflow raises; what was not sent then stays."""
    from filelock import FileLock

    if not folder.exists():
        return
    with FileLock(folder.with_suffix(".lock")):  # the recorder of another stage may be at it
        for kept in sorted(folder.glob("[0-9]*")):
            said = json.loads((kept / MESSAGES).read_text())
            ledger = Ledger(uri, said["first"])
            ledger.pending = [_found(message, kept) for message in said["pending"]]
            ledger.send()
            shutil.rmtree(kept)


def _without_credentials(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_credentials(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_credentials(inner) for inner in value]
    return without_credentials(value) if isinstance(value, str) else value


def _copied(message: dict[str, Any], kept: Path, name: str) -> dict[str, Any]:
    paths = [message["artifact"]] if "artifact" in message else message.get("model", [])
    copies = []
    for path in map(Path, paths):
        copy = Path(name, path.name)
        (kept / name).mkdir(exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, kept / copy)
        copies.append(str(copy))
    return _with_paths(message, copies)


def _found(message: dict[str, Any], kept: Path) -> dict[str, Any]:
    paths = [message["artifact"]] if "artifact" in message else message.get("model", [])
    return _with_paths(message, [str(kept / path) for path in paths])


def _with_paths(message: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    if "artifact" in message:
        return message | {"artifact": paths[0]}
    return message | {"model": paths} if "model" in message else message
