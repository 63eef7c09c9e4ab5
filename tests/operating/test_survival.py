"""Prefect's server is not there, or goes away: the command says so in one line; the same command does the work."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.services import HOST, Services
from tests.servers.conftest import free_port

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9/api"
STAGES = """
stages:
  one: {cmd: touch one.txt; until test -e go; do sleep 0.1; done, outs: [one.txt]}
  two: {cmd: touch two.txt, deps: [one.txt], outs: [two.txt]}
"""


def make(folder: Path, stages: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "dvc.yaml").write_text(stages)
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "velocity").symlink_to(ROOT / "velocity")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)


def test_a_server_that_is_down_at_the_start_is_one_line(tmp_path):
    make(tmp_path, "stages:\n  one: {cmd: touch one.txt, outs: [one.txt]}\n")
    command = [sys.executable, "-m", "flows.pipeline"]
    own = {key: value for key, value in os.environ.items() if key != "PREFECT_HOME"} | {"PREFECT_API_URL": NOWHERE}
    ended = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[1:] == [f"error: Failed to reach API at {NOWHERE}/"]
    assert not (tmp_path / "one.txt").exists()


def test_ctrl_c_ends_the_stage_and_prints_how_to_go_on(tmp_path):
    """The terminal sends it to every process that the command has started, so to Prefect's own server too."""
    make(tmp_path, STAGES)
    own = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    own["PREFECT_HOME"] = str(tmp_path / "prefect")
    command = [sys.executable, "-m", "flows.pipeline"]
    flow = subprocess.Popen(command, cwd=tmp_path, env=own, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "one.txt").exists():
        assert flow.poll() is None
        time.sleep(0.1)
    os.killpg(flow.pid, signal.SIGINT)
    _, printed = flow.communicate()
    interrupted = "interrupted: the finished stages are kept; the same command goes on from there"
    assert (flow.returncode, printed.splitlines()[1:]) == (130, [interrupted])


def test_a_server_that_is_killed_in_the_middle_leaves_every_stage_and_says_what_to_do(tmp_path):
    folder = tmp_path / "project"
    make(folder, STAGES)
    api = f"http://{HOST}:{(port := free_port())}/api"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    own = kept | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": api, "PREFECT_CLIENT_MAX_RETRIES": "1"}
    with Services(tmp_path / "logs") as running:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
        server = running.start("server", command, own)
        server.wait_for(f"{api}/health", 600)
        flow = running.start("flow", ["env", f"--chdir={folder}", sys.executable, "-m", "flows.pipeline"], own)
        while not (folder / "one.txt").exists():
            flow.check()
            time.sleep(0.1)
        server.process.kill()
        (folder / "go").touch()
        assert flow.process.wait() == 1
    said = flow.log.read_text()  # between lines of Prefect's own, which has logs to send
    assert said.count("error: ") == 1
    assert re.search(r"error: Prefect's server does not answer \(.*give the same command again\n", said)
    again = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=folder, env=kept, capture_output=True, text=True, check=True
    )
    assert again.stdout == "Data and pipelines are up to date.\n"
