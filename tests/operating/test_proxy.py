"""A proxy in the environment: the flow, its Prefect server and the commands it starts leave it alone."""

import os
import subprocess
import sys

import pytest

from tests.operating.test_survival import make
from tests.test_loopback import PROXIES, Counting

pytestmark = pytest.mark.slow


def test_the_pipeline_runs_past_a_proxy(tmp_path):
    make(tmp_path, "stages:\n  one: {cmd: touch one.txt, outs: [one.txt]}\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT") and key not in PROXIES}
    with Counting("proxy") as proxy:
        address = f"http://127.0.0.1:{proxy.server_port}"
        environment = kept | {"PREFECT_HOME": str(tmp_path / "prefect"), "http_proxy": address, "ALL_PROXY": address}
        command = [sys.executable, "-m", "flows.pipeline"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        proxy.shutdown()
    assert (done.returncode, done.stderr) == (0, "Starting Prefect (10 to 30 seconds)\n")
    assert (tmp_path / "one.txt").exists()
    assert proxy.requests == []
