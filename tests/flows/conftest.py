"""One Prefect server, with a database of its own, for all flows that are tested."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session", autouse=True)
def prefect_server():
    with prefect_test_harness(server_startup_timeout=240):
        yield


@pytest.fixture
def second_waits(capfd):
    """Take a lock twice: who comes second must say that it waits; returns who held it, in order."""

    def take_twice(take: Callable[[], AbstractContextManager]) -> list[str]:
        events = []

        def second() -> None:
            with take():
                events.append("second")

        with take():
            thread = threading.Thread(target=second)
            thread.start()
            printed = ""
            while "waiting for it to end" not in printed:
                assert thread.is_alive()
                printed += capfd.readouterr().out
                time.sleep(0.05)
            events.append("first")
        thread.join(timeout=30)
        return events

    return take_twice
