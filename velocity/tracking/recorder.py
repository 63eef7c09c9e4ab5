"""The recorder: ``python -m velocity.tracking.recorder`` hands what a stage says to MLflow and to DVCLive.

What MLflow does not take is kept and offered again: every half a minute, once more when the stage has ended, and by the
next recorder that reaches it (velocity.tracking.unsent). What the recorder prints is for the user: one line when
something goes wrong, one when it is right again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TextIO

from velocity.errors import without_credentials
from velocity.tracking.connection import DONE
from velocity.tracking.store import tracking_uri

FOLDER = Path("dvclive")
UNSENT = "unsent"
TOGETHER = 5.0  # seconds: what comes within them goes to MLflow in one request
AGAIN = 30.0  # seconds after which what could not be sent is tried again
PATIENCE = 300  # seconds that a finished stage waits; MLflow gives up on a silent server long before

Message = dict[str, Any]


def main() -> None:
    """The connection is the standard input."""
    connection = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    record(connection.makefile("r", encoding="utf-8"), connection)


def record(lines: TextIO, connection: socket.socket) -> None:
    """What the stage says in ``lines``, to its end; DONE tells it that nothing is left to do."""
    inbox: SimpleQueue[Message | None] = SimpleQueue()
    Thread(target=_read, args=[lines, inbox], daemon=True).start()
    first = inbox.get()
    if first is None:
        return
    from filelock import FileLock

    FOLDER.mkdir(exist_ok=True)
    with FileLock(FOLDER / f"{first['stage']}.lock"):  # the recorder of a killed training may still be at work
        _record(first, inbox, lambda text: _say(connection, text + "\n"))
    _say(connection, DONE)


def _read(lines: TextIO, inbox: SimpleQueue[Message | None]) -> None:
    """Empty the connection at once, so that it never holds up the stage, whatever MLflow is doing."""
    with suppress(OSError, ValueError):  # the stage was killed, in the middle of a line perhaps
        for line in lines:
            inbox.put(json.loads(line))
    inbox.put(None)
    signal.alarm(PATIENCE)  # ends this process


def _record(first: Message, inbox: SimpleQueue[Message | None], say: Callable[[str], None]) -> None:
    from velocity.tracking.curves import Curves
    from velocity.tracking.ledger import Ledger
    from velocity.tracking.unsent import keep, send_kept

    curves = Curves(FOLDER / first["stage"], first["identity"])
    ledger = Ledger(tracking_uri(), first)
    status, more, lost, try_at = "KILLED", True, "", 0.0
    while True:
        if not more or time.monotonic() >= try_at:
            try:
                ledger.send()
                send_kept(FOLDER / UNSENT, ledger.uri)
                if lost:
                    say("note: MLflow answers again; what was kept is recorded")
                lost = ""
            except Exception as error:
                if not lost and more:
                    say(f"note: MLflow does not take the record of this run, which is kept for later: {_line(error)}")
                lost, try_at = _line(error), time.monotonic() + AGAIN
        if not more:
            break
        messages, more = _together(inbox)
        status = next((message["status"] for message in messages if "status" in message), status)
        ledger.pending += messages if more else [*messages, {"close": status}]
        try:
            curves.draw([entry for message in messages for entry in message.get("curves", [])])
        except Exception as error:
            say(f"note: DVCLive draws no more curves of this run: {_line(error)}")
            curves = Curves(None, None)
    if lost:
        if ledger.pending or ledger.run_id is None:
            keep(FOLDER / UNSENT, ledger)
        say(
            f"warning: MLflow did not record {'all of ' * bool(ledger.run_id)}this run: {lost}; "
            f"it is kept in {FOLDER / UNSENT} and sent with the next run"
        )
    curves.close(finished=status == "FINISHED")


def _together(inbox: SimpleQueue[Message | None]) -> tuple[list[Message], bool]:
    """What comes within the next seconds, and whether more may follow."""
    messages, until = [], time.monotonic() + TOGETHER
    while (left := until - time.monotonic()) > 0:
        try:
            message = inbox.get(timeout=left)
        except Empty:
            break
        if message is None:
            return messages, False
        messages.append(message)
    return messages, True


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_credentials(lines[0])[:300]


def _say(connection: socket.socket, text: str) -> None:
    with suppress(OSError):  # the stage was killed: nobody listens
        connection.sendall(text.encode())


if __name__ == "__main__":
    main()
