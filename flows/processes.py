"""Commands that flows run, and locks that these inherit: after a kill, the next flow waits for what still runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from prefect import get_client, get_run_logger
from prefect.exceptions import MissingContextError
from rich.console import Console

console = Console(highlight=False, soft_wrap=True)
_running: set[subprocess.Popen[str]] = set()


def start_prefect() -> None:
    """Start Prefect's own server where no other is set up, out of reach of the terminal's Ctrl-C: without a server,
    Prefect tries for minutes to report how an interrupted run has ended."""
    print("Starting Prefect (10 to 30 seconds)", file=sys.stderr)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a process that starts now inherits this
    try:
        get_client(sync_client=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def say(line: str) -> None:
    """For the terminal and, inside a run, for its log in Prefect."""
    console.print(line, markup=False)
    with suppress(MissingContextError):
        get_run_logger().info(line)


@contextmanager
def locked(path: Path, busy: str) -> Iterator[int]:
    """Hold the lock at ``path``; print ``busy`` and wait when another process has it. Yields its file for ``running``.

    The lock is free when no process has the file open: neither this one nor the commands that inherited it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{busy}; waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@contextmanager
def running(
    command: list[str],
    lock: int = subprocess.DEVNULL,
    folder: Path | str = ".",
    environment: Mapping[str, str] | None = None,
    stderr: int = subprocess.STDOUT,
) -> Iterator[subprocess.Popen[str]]:
    """A command in ``folder``, in a process group that ends as a whole when the block is interrupted or the command
    itself is killed.

    ``lock``: of ``locked``; it is the standard input, the one file that DVC leaves open for its stages, so that it is
    held for as long as one of them works on. ``environment``: variables to set besides this process's own. Wherever
    the command runs, its records go to this project's MLflow store.
    """
    own = Path(sys.executable).parent  # so that `python` in dvc.yaml is this Python
    defaults = {
        "PATH": f"{own}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}",
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=lock,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        errors="replace",
        env=os.environ | defaults | dict(environment or {}),
        start_new_session=True,
    )
    Thread(target=_end_together, args=[process], daemon=True).start()
    _running.add(process)
    with process:
        try:
            yield process
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            _running.discard(process)


def end_running() -> None:
    """End the commands of every thread, each with its process group."""
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def _end_together(process: subprocess.Popen[str]) -> None:
    """A stage whose DVC was killed would train to its end, for nobody."""
    if process.wait() < 0:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
