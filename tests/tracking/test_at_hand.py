"""Recorders that are at hand record as those do that a stage starts itself; when they are gone, it starts its own."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from velocity.tracking import recorders_at_hand
from velocity.tracking.connection import AT_HAND

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Mac's libraries do not survive a fork")

ROOT = Path(__file__).parents[2]
STAGE = """
import sys, time
from velocity.tracking import track_run
with track_run("finetune", {"of": sys.argv[1]}) as run:
    run.log({"step": 1, "loss": 2.5})
    run.artifact("note.txt")
    if len(sys.argv) > 2:
        print("works", flush=True)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def tracking(monkeypatch):
    monkeypatch.delenv("VELOCITY_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def stage(folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "note.txt").write_text(f"of {folder.name}")
    environment = {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-c", STAGE, folder.name, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=os.environ | environment, **pipes)


def at_work(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A stage that goes on until it is stopped, and its recorder."""
    process = stage(folder, "and wait")
    assert process.stdout.readline() == "works\n"
    (server,) = servers()
    while not (forked := [child for child in server.children() if child.cmdline() == server.cmdline()]):
        time.sleep(0.05)
    return process, forked[0]


def recorded(database: Path) -> list[tuple]:
    query = "select name, status, value from runs join params using (run_uuid) order by value"
    with sqlite3.connect(database) as opened:
        return opened.execute(query).fetchall()


def servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "velocity.tracking.at_hand" in child.cmdline()]


def test_each_stage_is_recorded_in_its_folder_by_its_settings(tmp_path):
    elsewhere = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/elsewhere.db", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    with recorders_at_hand():
        both = [stage(tmp_path / "a"), stage(tmp_path / "b", **elsewhere)]
        assert [process.communicate() for process in both] == [("", ""), ("", "")]
        (server,) = servers()
        psutil.wait_procs(server.children(), timeout=30)
        assert server.children() == []
    assert AT_HAND not in os.environ
    assert not server.is_running()
    assert recorded(tmp_path / "a/mlflow.db") == [("finetune", "FINISHED", "a")]
    assert recorded(tmp_path / "elsewhere.db") == [("finetune", "FINISHED", "b")]
    assert sorted(path.read_text() for path in tmp_path.glob("mlartifacts/**/note.txt")) == ["of b"]
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_dead_server_costs_two_lines_and_what_was_said_is_kept(tmp_path):
    """MLflow's own patience, which the recorders shorten, is minutes."""
    with recorders_at_hand():
        _, said = stage(tmp_path / "a", MLFLOW_TRACKING_URI="http://127.0.0.1:9").communicate(timeout=120)
    notice, warning = said.splitlines()
    assert notice.startswith("note: MLflow does not take the record of this run, which is kept for later: ")
    assert warning.startswith("warning: MLflow did not record this run: ")
    assert list((tmp_path / "a/dvclive/unsent").glob("0*"))


def test_a_stage_starts_its_own_when_they_are_gone(tmp_path):
    with recorders_at_hand():
        (server,) = servers()
        server.kill()
        server.wait()
        assert stage(tmp_path / "a").communicate() == ("", "")
    assert recorded(tmp_path / "a/mlflow.db") == [("finetune", "FINISHED", "a")]


def test_a_recorder_goes_on_without_them_and_closes_the_run_of_a_killed_stage(tmp_path):
    with recorders_at_hand():
        process, recorder = at_work(tmp_path / "a")
    assert recorder.is_running()
    process.kill()
    process.communicate()
    psutil.wait_procs([recorder])
    assert recorded(tmp_path / "a/mlflow.db") == [("finetune", "KILLED", "a")]


def test_a_recorder_that_is_killed_is_told(tmp_path):
    with recorders_at_hand():
        process, recorder = at_work(tmp_path / "a")
        recorder.kill()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert "warning: MLflow did not record all of this run: its recorder did not come to an end" in said.splitlines()
