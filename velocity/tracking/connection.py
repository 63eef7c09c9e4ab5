"""A stage's line to its recorder: to one that it starts itself, or to one of those that are at hand for a pipeline."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

AT_HAND = "VELOCITY_RECORDERS"  # the socket of velocity.tracking.at_hand
DONE = "\n"  # the recorder's last word

# Silent, and soon aware of a server that does not answer; the user's own settings come first.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Connection:
    """Open from the start; what the recorder has to say goes to stderr, a line each, as soon as it is said."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = _found_at_hand() or self._start()
        self._lines = self._socket.makefile("w", encoding="utf-8")
        self._done = False
        self._speaker = Thread(target=self._repeat, daemon=True)
        self._speaker.start()

    def send(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):  # the recorder is gone: said once, when the stage ends
            print(json.dumps(message), file=self._lines, flush=True)

    def close(self) -> bool:
        """Wait for the recorder; whether it came to its end. It gives up by itself when that takes too long."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._speaker.join()
        if self._process:
            self._process.wait()
        return self._done

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = _start("velocity.tracking.recorder", stdin=theirs.fileno())
        return ours

    def _repeat(self) -> None:
        with suppress(OSError):
            for line in self._socket.makefile("r", encoding="utf-8"):
                self._done = line == DONE
                if not self._done:
                    print(line, end="", file=sys.stderr, flush=True)


def _found_at_hand() -> socket.socket | None:
    path = os.environ.get(AT_HAND)
    if not path:
        return None
    found = socket.socket(socket.AF_UNIX)
    try:
        found.connect(path)
        own = {"folder": os.getcwd(), "environment": dict(os.environ)}
        found.sendall(json.dumps(own).encode() + b"\n")
    except OSError:  # they are gone
        found.close()
        return None
    return found


def _start(module: str, *arguments: str, stdin: int, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=stdin,
        pass_fds=pass_fds,
        stdout=subprocess.DEVNULL,  # libraries print, too; only notices are for the user
        stderr=None if os.environ.get("VELOCITY_DEBUG") else subprocess.DEVNULL,
        env=ENVIRONMENT | os.environ,
        start_new_session=True,  # an interrupt stops the stage, not the record of it
    )


@contextmanager
def recorders_at_hand() -> Iterator[None]:
    """Have recorders that need not import MLflow first, for the stages that this process starts in the block.

    That takes seconds of a processor for each of them otherwise, which a short stage waits for. On Linux alone:
    a Mac's libraries do not survive a fork.
    """
    if sys.platform != "linux" or os.environ.get("VELOCITY_TRACKING") == "off" or os.environ.get(AT_HAND):
        yield
        return
    with TemporaryDirectory(prefix="velocity-asr-") as folder:
        path = str(Path(folder, "recorders"))
        with socket.socket(socket.AF_UNIX) as listener:  # open before the first stage comes
            listener.bind(path)
            listener.listen()
            number = listener.fileno()
            process = _start("velocity.tracking.at_hand", str(number), stdin=subprocess.PIPE, pass_fds=[number])
        os.environ[AT_HAND] = path
        try:
            yield
        finally:
            del os.environ[AT_HAND]
            process.stdin.close()
            process.wait()
