"""From a stage's journal to MLflow, while the stage runs.

The journal is a file: the stage appends to it and never waits for MLflow. It is also what is left when MLflow does not
answer, or when this process is killed: the next run sends it (``send_kept``).
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from velocity.errors import without_credentials
from velocity.project import tracking_uri
from velocity.tracking.ledger import Ledger
from velocity.tracking.origins import identity, origin_tags, output_tags
from velocity.tracking.store import ENVIRONMENT

FOLDER = Path(".dvc/tmp/journals")
TOGETHER = 5.0  # seconds between requests to MLflow
AGAIN = 30.0  # seconds until what could not be sent is sent again
PATIENCE = 120.0  # seconds that a finished stage waits for MLflow


class Recorder:
    """``with Recorder(stage) as recorder``: ``recorder.path`` is the journal, open for the stage to append to."""

    def __init__(self, stage: str, folder: Path = FOLDER) -> None:
        self.stage, self.folder = stage, folder
        self.path = folder / f"{time.time_ns()}-{stage}.jsonl"
        self._ended = Event()
        self._thread = Thread(target=self._record, daemon=True)

    def __enter__(self) -> Recorder:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+", encoding="utf-8", buffering=1)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # so that no other run takes it for one that was left behind
        self._append(stage=self.stage, tags=origin_tags(self.stage))
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def start(self) -> None:
        self._thread.start()

    def finish(self, status: str) -> None:
        """The stage has ended with ``status``: FINISHED, FAILED or KILLED. What MLflow does not take is kept."""
        with _noted("this run"):
            if status == "FINISHED":
                self._append(tags=output_tags(self.stage))
            self._append(close=status)
        self._ended.set()
        self._thread.join(PATIENCE)
        if self.path.exists():
            with _noted("files of this run"):
                keep_files(self.path)
            kept = f"it is kept in {self.folder} and sent with the next"
            print(f"warning: MLflow did not record all of this run; {kept}", file=sys.stderr)

    def _append(self, **message: Any) -> None:
        # On a line of its own: a stage that was killed may have left a part of one.
        self._file.write("\n" + without_credentials(json.dumps(message)) + "\n")

    def _record(self) -> None:
        """The thread: send what is new every few seconds; give up waiting when the stage has ended and it fails."""
        delivery, failed, ended = Delivery(self.path), False, False
        while not ended:
            ended = self._ended.wait(AGAIN if failed else TOGETHER)
            try:
                with redirect_stdout(io.StringIO()):  # MLflow prints addresses of its pages
                    delivery.send()
                if failed:
                    print("note: MLflow answers again; what was kept is recorded", file=sys.stderr)
                failed = False
                if ended:
                    remove(self.path)
                    send_kept(self.folder)
            except Exception as error:
                if not failed:
                    print(f"note: MLflow does not take the record of this run: {_line(error)}", file=sys.stderr)
                failed = True


class Delivery:
    """Sends a journal to MLflow and notes in it how far: {"run": id} and {"sent": count of messages}."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ledger: Ledger | None = None

    def send(self) -> None:
        """May be repeated: nothing is recorded twice. Raises what MLflow raises."""
        lines = list(read_journal(self.path))
        sent = max((line["sent"] for line in lines if "sent" in line), default=0)
        run = next((line["run"] for line in lines if "run" in line), None)
        first, *messages = [line for line in lines if not {"sent", "run"} & line.keys()]
        if self._ledger is None:
            params = next((message["params"] for message in messages if "params" in message), None)
            if params is None and not any("close" in message for message in messages):
                return  # the stage has not reported its parameters yet
            about = {**first, "params": params or {}, "identity": identity(first["stage"], params or {}, first["tags"])}
            self._ledger = Ledger(tracking_uri(), about, run)
        self._ledger.pending = messages[sent:]
        try:
            self._ledger.send()
        finally:
            with open(self.path, "a", encoding="utf-8") as file:
                if run is None and self._ledger.run_id:
                    file.write(json.dumps({"run": self._ledger.run_id}) + "\n")
                if (count := len(messages) - len(self._ledger.pending)) > sent:
                    file.write(json.dumps({"sent": count}) + "\n")


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal. A kill may have left a part of one."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        with suppress(ValueError):
            if line.endswith("\n"):
                yield json.loads(line)


def send_kept(folder: Path) -> None:
    """Send the journals that earlier runs left, the oldest first. One that MLflow does not take stays."""
    for path in sorted(folder.glob("*.jsonl")):
        # Another process writes it, or has just sent it.
        with suppress(BlockingIOError, FileNotFoundError), open(path, "r+", encoding="utf-8", buffering=1) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not any("close" in message for message in read_journal(path)):  # killed with its recorder
                file.seek(0, os.SEEK_END)
                file.write('\n{"close": "KILLED"}\n')
            with _noted(str(path)):
                Delivery(path).send()
                remove(path)


def keep_files(journal: Path) -> None:
    """Copy the files that a journal names beside it: tomorrow they may be others."""
    lines = []
    for number, message in enumerate(read_journal(journal)):
        folder = journal.with_suffix("") / str(number)
        if path := message.get("artifact"):
            message["artifact"] = _copy(Path(path), folder)
        if paths := message.get("model"):
            message["model"] = [_copy(Path(path), folder) for path in paths]
        lines.append(json.dumps(message) + "\n")
    temporary = journal.with_suffix(".partial")
    temporary.write_text("".join(lines), encoding="utf-8")
    os.replace(temporary, journal)


def _copy(path: Path, folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return str((shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name))


@contextmanager
def _noted(record: str) -> Iterator[None]:
    """What fails in the block is a line on stderr: a record never decides how a stage ends."""
    try:
        yield
    except Exception as error:
        print(f"note: {record} could not be recorded: {_line(error)}", file=sys.stderr)


def _line(error: Exception) -> str:
    return without_credentials((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]


def remove(journal: Path) -> None:
    journal.unlink(missing_ok=True)
    shutil.rmtree(journal.with_suffix(""), ignore_errors=True)
