"""The clock is set back by a year between two commands: what is new is still found, and what is old still known."""

import os
import sqlite3
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from tests.exported import export
from velocity.registry import Champions, Registry

ROOT = Path(__file__).parents[2]
YEAR = 365 * 24 * 3600.0
LIBRARY = files("libfaketime") / "vendor/libfaketime/src/libfaketime.so.1"
BEFORE = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": "-1y", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
STAGE = """
from pathlib import Path
from velocity.journal import Journal
from velocity.tracking.recorder import Recorder
with Recorder("train") as recorder:
    recorder.start()
    journal = Journal(str(recorder.path))
    journal.params({})
    journal.log({"step": int(Path("speech.txt").read_text()), "loss": 1.0})
    Path("model.txt").write_text(Path("speech.txt").read_text())
    recorder.finish("FINISHED")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the clock is set back by a library for Linux"),
]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VELOCITY_TRACKING", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def run(*arguments: str, before: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | (BEFORE if before else {}), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_sets_the_clock_back():
    now, then = (float(run("-c", "import time; print(time.time())", before=before)) for before in (False, True))
    assert now - then == pytest.approx(YEAR, abs=60)


def test_a_stage_is_out_of_date_when_what_it_reads_is_another(project, monkeypatch):
    Path("stage.py").write_text(STAGE)
    Path("dvc.yaml").write_text("stages: {train: {cmd: python stage.py, deps: [speech.txt], outs: [model.txt]}}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    run("-m", "dvc", "init", "--quiet", "--no-scm")
    for content, before, ran in (("1", False, True), ("1", True, False), ("2", True, True), ("2", False, False)):
        Path("speech.txt").write_text(content)
        written = time.time() - YEAR * before
        os.utime("speech.txt", (written, written))
        assert ("Running stage" in run("-m", "dvc", "repro", before=before)) == ran
        assert Path("model.txt").read_text() == content
    with sqlite3.connect("mlflow.db") as database:
        found = database.execute("select status, end_time from runs order by end_time").fetchall()
    assert [status for status, _ in found] == ["FINISHED", "FINISHED"]
    assert (found[1][1] - found[0][1]) / 1000 == pytest.approx(YEAR, abs=600), "the second was the earlier one"


def test_the_newest_version_is_the_challenger_whatever_its_time(project):
    registry = Registry()
    for number, before in enumerate((False, True, False), 1):
        export(project, gain=float(number))
        run("-m", "velocity.cli", "register", before=before)
        assert registry.champions() == Champions(None, None, str(number))
