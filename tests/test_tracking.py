"""Runs recorded by a real MLflow in SQLite, read back with SQL."""

import hashlib
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.tracking import flatten, input_tags, track_run

DVC_YAML = """
stages:
  prepare: {cmd: x, deps: [data/raw], outs: [data/prepared]}
  finetune:
    cmd: x
    deps: [data/prepared, velocity/model]
    outs: [model.bin, {kept.bin: {cache: true}}]
    metrics: [{finetune.json: {cache: false}}]
"""
DVC_LOCK = """
schema: '2.0'
stages:
  fetch@a: {cmd: x, outs: [{path: data/raw/a, hash: md5, md5: aaaa.dir}]}
  prepare: {cmd: x, outs: [{path: data/prepared, hash: md5, md5: bbbb.dir}]}
  finetune: {cmd: x, outs: [{path: model.bin, hash: md5, md5: stale}]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project folder under git in which tracking is on and MLflow keeps its defaults."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VELOCITY_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("dvc.lock").write_text(DVC_LOCK)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    return tmp_path


def select(query: str) -> list[tuple]:
    with sqlite3.connect("mlflow.db") as database:
        return database.execute(query).fetchall()


def test_a_run_keeps_parameters_metrics_artifacts_and_origins(folder, capfd):
    Path("note.txt").write_text("kept")
    with track_run("finetune", {"optimisation": {"steps": 3}, "speeds": [0.9, 1.1]}) as run:
        run.log({"step": 1, "loss": 2.5})
        run.log({"step": 2, "loss": 1.5, "validation_wer": 0.5})
        run.metrics({"onnx": {"wer": 0.25, "ci": [0.2, 0.3], "name": "ignored"}})
        run.artifact("note.txt")
        Path("model.bin").write_bytes(b"weights")
    assert capfd.readouterr().err == ""
    assert select("select name, status from runs") == [("finetune", "FINISHED")]
    assert dict(select("select key, value from params")) == {"optimisation.steps": "3", "speeds": "[0.9, 1.1]"}
    assert sorted(select("select key, step, value from metrics")) == [
        ("loss", 1, 2.5),
        ("loss", 2, 1.5),
        ("onnx.ci.0", 2, 0.2),
        ("onnx.ci.1", 2, 0.3),
        ("onnx.wer", 2, 0.25),
        ("validation_wer", 2, 0.5),
    ]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    tags = dict(select("select key, value from tags"))
    assert (
        tags.items()
        >= {
            "stage": "finetune",
            "mlflow.source.git.commit": commit,
            "git.dirty": "false",
            "input/data/prepared": "bbbb.dir",
            "output/model.bin": hashlib.md5(b"weights").hexdigest(),
        }.items()
    )
    assert [path.read_text() for path in Path("mlartifacts").rglob("note.txt")] == ["kept"]


def test_a_failed_and_a_killed_stage_do_not_look_like_finished_ones(folder):
    with pytest.raises(ZeroDivisionError), track_run("failing", {}):
        _ = 1 / 0
    program = """
import os, signal
from velocity.tracking import track_run
with track_run("killed", {}) as run:
    run.metrics({"loss": 1.0})
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    ends = "select name, status from runs order by name"
    patience = time.monotonic() + 60
    while ("killed", "KILLED") not in select(ends) and time.monotonic() < patience:
        time.sleep(0.1)  # the recorder outlives the stage
    assert select(ends) == [("failing", "FAILED"), ("killed", "KILLED")]


def test_a_server_that_cannot_be_reached_costs_one_line(folder, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = []
    with track_run("finetune", {}) as run:
        run.series({"step": step, "loss": 1.0} for step in range(20_000))  # far more than a pipe holds
        done.append(True)
    assert done
    warning = capfd.readouterr().err
    assert warning.startswith("warning: MLflow did not record this run: ")
    assert warning.count("\n") == 1


def test_tracking_that_is_off_leaves_nothing(folder, monkeypatch):
    monkeypatch.setenv("VELOCITY_TRACKING", "off")
    with track_run("finetune", {"a": 1}) as run:
        run.metrics({"loss": 1.0})
        run.artifact("dvc.yaml")
    assert not Path("mlflow.db").exists()


def test_inputs_are_what_other_stages_made_at_or_below_the_dependencies(folder):
    assert input_tags("prepare") == {"input/data/raw/a": "aaaa.dir"}
    assert input_tags("finetune") == {"input/data/prepared": "bbbb.dir"}
    assert input_tags("unknown") == {}


trees = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.text("ab", min_size=1), inner, min_size=1) | st.lists(inner, min_size=1),
)


@given(trees)
def test_flatten_names_every_leaf_by_its_path(tree):
    flat = list(flatten(tree))
    assert len({name for name, _ in flat}) == len(flat)
    for name, value in flat:
        node = tree
        for part in name.split(".") if name else []:
            node = node[int(part)] if isinstance(node, list) else node[part]
        assert node == value
