"""Recorders at hand: ``python -m velocity.tracking.at_hand NUMBER`` imports MLflow once, and forks for each stage.

NUMBER is the open file of the socket that it listens on. It ends when its standard input does; the recorders that it
has made go on until their stages end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
from importlib import import_module

from velocity.tracking.connection import ENVIRONMENT
from velocity.tracking.recorder import record

# What a recorder comes to import. None of it may start a thread: the fork would be without it.
NEEDED = (
    "dvclive",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "velocity.tracking.curves",
    "velocity.tracking.ledger",
    "velocity.tracking.model",
    "velocity.tracking.unsent",
)


def main(listener: socket.socket) -> None:
    """A stage that comes before the imports are done is heard then."""
    for name in NEEDED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the recorders
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            try:
                record_for(connection)
            except Exception:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(0)  # whatever happened: not into the loop
        connection.close()


def record_for(connection: socket.socket) -> None:
    """As a recorder of the stage's own would: in its folder, with its environment."""
    lines = connection.makefile("r", encoding="utf-8")
    own = json.loads(lines.readline())
    os.chdir(own["folder"])
    os.environ.clear()
    os.environ.update(ENVIRONMENT | own["environment"])
    record(lines, connection)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
