"""The environment of every test: no tracking, no telemetry, two threads, the same drawn examples every time.

Files marked ``slow`` start first, so that no core waits for them at the end; where ``-m "not slow"`` leaves them out,
they are not even imported. The run ends with the files that took longest.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import flows  # noqa: F401  (sets the defaults of the pipeline's environment)
from velocity.stages import keep_memory

os.environ["VELOCITY_TRACKING"] = "off"
os.environ.setdefault("OMP_NUM_THREADS", "2")
keep_memory()

# A test that fails must fail for everybody: examples follow from the test alone, and a busy machine is no failure.
# New examples: pytest --hypothesis-profile default
busy = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("reproducible", derandomize=True, **busy)
settings.load_profile("reproducible")

SLOW_FILE = re.compile(r"^pytestmark = .*pytest\.mark\.slow\b", re.MULTILINE)
SLOWEST = 15
SHARED = ("tests/artefacts/", "tests/flows/", "tests/servers/")  # each artefact; one Prefect server; one S3 store


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that is slow as a whole is not imported by a fast run: the converters alone take half a minute to load."""
    if config.getoption("markexpr") == "not slow" and collection_path.match("test_*.py"):
        return bool(SLOW_FILE.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays in one process, and so does a folder whose tests share something costly."""
    from xdist.scheduler import LoadFileScheduling

    class ByFileOrFolder(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in SHARED if nodeid.startswith(folder)), nodeid.partition("::")[0])

    return ByFileOrFolder(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The files that took longest, set-up and tear-down included, whichever process ran them."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 1:
        terminalreporter.write_sep("=", f"slowest files of {len(seconds)}, {sum(seconds.values()):.0f} s in all")
        for name, total in seconds.most_common(SLOWEST):
            terminalreporter.write_line(f"{total:8.1f} s  {name}")
