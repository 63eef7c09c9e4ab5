"""From a stage's journal to MLflow, while the stage runs.

The journal is a file: the stage appends to it and never waits for MLflow. It is also what is left when MLflow does not
answer, or when this process is killed: the next run sends it (``send_kept``).
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from velocity.files import write_json, write_json_lines
from velocity.project import tracking_uri
from velocity.tracking.ledger import Ledger
from velocity.tracking.origins import identity, origin_tags, output_tags
from velocity.tracking.store import reason

FOLDER = Path(".dvc/tmp/journals")
TOGETHER = 5.0  # seconds between requests to MLflow
AGAIN = 30.0  # seconds until what could not be sent is sent again
PATIENCE = 120.0  # seconds that a finished stage waits for MLflow


class Recorder(Thread):
    """``with Recorder(stage) as recorder``: ``recorder.path`` is the journal, open for the stage to append to."""

    def __init__(self, stage: str) -> None:
        super().__init__(daemon=True)
        self.stage = stage
        self.path = FOLDER / f"{time.time_ns()}-{stage}.jsonl"
        self._ended = Event()

    def __enter__(self) -> Recorder:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+", encoding="utf-8", buffering=1)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # so that no other run takes it for one that was left behind
        self._append(stage=self.stage, tags=origin_tags(self.stage))
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def finish(self, status: str) -> None:
        """The stage has ended with ``status``: FINISHED, FAILED or KILLED. What MLflow does not take is kept."""
        with _noted("this run"):
            if status == "FINISHED":
                self._append(tags=output_tags(self.stage))
            self._append(close=status)
        self._ended.set()
        self.join(PATIENCE)
        if self.path.exists():
            with _noted("files of this run"):
                Record(self.path).keep_files()
            kept = f"MLflow did not record all of this run; it is kept in {FOLDER} and sent with the next"
            print(f"warning: {kept}", file=sys.stderr)

    def _append(self, **message: Any) -> None:
        # On a line of its own: a stage that was killed may have left a part of one.
        self._file.write(f"\n{json.dumps(message)}\n")

    def run(self) -> None:
        """Send what is new every few seconds; give up waiting when the stage has ended and it fails."""
        record, failed, ended = Record(self.path), False, False
        while not ended:
            ended = self._ended.wait(AGAIN if failed else TOGETHER)
            try:
                record.send()
                if failed:
                    print("note: MLflow answers again; what was kept is recorded", file=sys.stderr)
                failed = False
                if ended:
                    record.remove()
                    send_kept()
            except Exception as error:
                if not failed:
                    print(f"note: MLflow does not take the record of this run: {reason(error)}", file=sys.stderr)
                failed = True


class Record:
    """A journal on the disk. The folder beside it says how far it was sent, and keeps the files that it names."""

    def __init__(self, journal: Path) -> None:
        self.journal, self.folder = journal, journal.with_suffix("")
        self.progress = self.folder / "sent.json"  # the run and the number of messages
        self._ledger: Ledger | None = None

    def messages(self) -> Iterator[dict[str, Any]]:
        """Its whole lines. A kill may have left a part of one."""
        with open(self.journal, encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError):
                    if line.endswith("\n"):
                        yield json.loads(line)

    def send(self) -> None:
        """May be repeated: nothing is recorded twice. Raises what MLflow raises."""
        first, *others = messages = list(self.messages())
        if self._ledger is None:
            params = next((message["params"] for message in others if "params" in message), None)
            if params is None and not any("close" in message for message in others):
                return  # the stage has not reported its parameters yet
            origin = identity(first["stage"], params or {}, first["tags"])
            progress = json.loads(self.progress.read_text()) if self.progress.exists() else ()
            self._ledger = Ledger(tracking_uri(), first["stage"], origin, *progress)
        try:
            self._ledger.send(messages)
        finally:
            write_json(self.progress, [self._ledger.run_id, self._ledger.sent])

    def keep_files(self) -> None:
        """Copy the files that the journal names: tomorrow they may be others."""
        messages = list(self.messages())
        for number, message in enumerate(messages):
            if path := message.get("artifact"):
                message["artifact"] = self._copy(path, number)
            if paths := message.get("model"):
                message["model"] = [self._copy(path, number) for path in paths]
        write_json_lines(self.journal, messages)

    def _copy(self, path: str, number: int) -> str:
        copy = self.folder / str(number) / Path(path).name
        copy.parent.mkdir(parents=True, exist_ok=True)
        return str((shutil.copytree if Path(path).is_dir() else shutil.copy)(path, copy))

    def remove(self) -> None:
        self.journal.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def send_kept() -> None:
    """Send the journals that earlier runs left, the oldest first. One that MLflow does not take stays."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        record = Record(path)
        # Another process writes it, or has just sent it.
        with suppress(BlockingIOError, FileNotFoundError), open(path, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not any("close" in message for message in record.messages()):  # killed with its recorder
                print('\n{"close": "KILLED"}', file=file, flush=True)
            with _noted(str(path)):
                record.send()
                record.remove()


@contextmanager
def _noted(record: str) -> Iterator[None]:
    """What fails in the block is a line on stderr: a record never decides how a stage ends."""
    try:
        yield
    except Exception as error:
        print(f"note: {record} could not be recorded: {reason(error)}", file=sys.stderr)
