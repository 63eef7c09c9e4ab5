"""Processes that run beside this one: their lines in a log, ended with all they have started."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.error import URLError
from urllib.request import urlopen

from velocity.errors import VelocityError

if TYPE_CHECKING:
    import psutil

HOST = "127.0.0.1"
GRACE = 20.0  # seconds to end in by themselves


@dataclass
class Service:
    """A running command, out of reach of the terminal's Ctrl-C."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    seen: dict[psutil.Process, None] = field(default_factory=dict)

    def check(self) -> None:
        """Raises VelocityError with the command's last words when it has ended."""
        status = self.process.poll()
        if status is None:
            return
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise VelocityError(f"{self.name} has ended ({how}): {lines[-1].strip() if lines else 'no message'}; "
                            f"more in {self.log}")  # fmt: skip

    def wait_for(self, address: str, seconds: float = 180) -> None:
        """Until ``address`` answers. Raises VelocityError when the command ends before, or time is up."""
        until = time.monotonic() + seconds
        while True:
            self.check()
            with suppress(URLError, OSError), urlopen(address, timeout=5):
                return
            if time.monotonic() > until:
                raise VelocityError(f"{self.name}: {address} does not answer after {seconds:.0f} s; see {self.log}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the command and everything it has started: first what it has started itself, so that a worker can still
        tell what became of its flow runs, then all, at last without asking."""
        import psutil

        terminate, kill = psutil.Process.terminate, psutil.Process.kill
        for end, only_children in ((terminate, True), (terminate, False), (kill, False)):
            chosen = []
            for member in self.family():
                with suppress(psutil.NoSuchProcess):
                    if member.is_running() and (not only_children or member.ppid() == self.process.pid):
                        end(member)
                        chosen.append(member)
            psutil.wait_procs(chosen, timeout=GRACE)
        self.process.wait()

    def family(self) -> list[psutil.Process]:
        """The command and its descendants, with those that were seen before and have lost their parent since."""
        import psutil

        if self.process.poll() is None:  # else its number may be another's by now
            self.seen.setdefault(psutil.Process(self.process.pid))
        for known in list(self.seen):
            with suppress(psutil.NoSuchProcess):
                self.seen |= dict.fromkeys(known.children(recursive=True))
        return list(self.seen)


class Services:
    """What is started in a ``with`` block; it ends with the block, the last one first."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM)  # a second Ctrl-C would leave the rest running
        before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
        while self.running:
            self.running.pop().stop()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Service:
        """Run ``command`` with this environment and nothing else, its lines going to ``logs``/``name``.log."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name.replace(' ', '-').lower()}.log"
        with open(log, "wb") as lines:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        service = Service(name, process, log)
        self.running.append(service)
        return service

    def watch(self) -> None:
        """Until one of them ends, which raises VelocityError."""
        while True:
            for service in self.running:
                service.check()
                service.family()  # a command that is killed leaves its children to nobody: know them before
            time.sleep(1)


def require_free(port: int, option: str) -> None:
    """Raises VelocityError when something on this machine listens at ``port``."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, port))
        except OSError as error:
            raise VelocityError(f"port {port}: {error.strerror.lower()}; choose another one with {option}") from error
