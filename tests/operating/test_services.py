"""Services end together, whatever they do."""

import sys
import time

import psutil
import pytest

from flows.services import Services
from velocity.errors import VelocityError

# A child in a session of its own that takes no hint, as a worker's flow run might be.
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(600)
"""


def test_one_that_ends_is_named_with_its_last_words_and_the_rest_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("flows.services.GRACE", 0.5)
    family = []

    def operate() -> None:
        with Services(tmp_path) as running:
            stubborn = running.start("server", [sys.executable, "-c", STUBBORN], {})
            while "up" not in stubborn.log.read_text():
                time.sleep(0.05)
            process = psutil.Process(stubborn.process.pid)
            family.extend([process, *process.children()])
            running.start("worker", [sys.executable, "-c", "print('no room left'); exit(3)"], {})
            running.watch()

    with pytest.raises(
        VelocityError, match=r"^worker has ended \(exit status 3\): no room left; more in .*worker\.log$"
    ):
        operate()
    assert len(family) == 2
    assert [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []


def test_one_that_ends_before_it_answers_is_not_waited_for(tmp_path):
    with Services(tmp_path) as running:
        silent = running.start("server", ["bash", "-c", "kill -9 $$"], {})
        with pytest.raises(VelocityError, match=r"killed by SIGKILL\): no message"):
            silent.wait_for("http://127.0.0.1:9/health")
