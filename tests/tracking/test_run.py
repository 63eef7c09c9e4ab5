"""Runs recorded by a real MLflow in SQLite, read back with SQL."""

import getpass
import hashlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.tracking import flatten, track_run
from velocity.tracking.origins import identity, input_tags

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
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path(".gitignore").write_text("/dvclive/\n/.dvc/tmp/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    return tmp_path


def select(query: str) -> list[tuple]:
    with sqlite3.connect("mlflow.db") as database:
        return database.execute(query).fetchall()


def curve(stage: str, metric: str) -> list[tuple[str, ...]]:
    """The rows that DVCLive has drawn: (step, value) as text."""
    header, *rows = Path(f"dvclive/{stage}/plots/metrics/{metric}.tsv").read_text().splitlines()
    assert header == f"step\t{metric}"
    return [tuple(row.split("\t")) for row in rows]


def test_a_run_keeps_parameters_metrics_artifacts_and_origins(folder, capfd):
    Path("note.txt").write_text("kept")
    params = {"optimisation": {"steps": 3}, "speeds": [0.9, 1.1], "source": "https://me:hunter2@example.org/speech"}
    with track_run("finetune", params) as run:
        run.log({"step": 1, "loss": 2.5})
        run.log({"step": 2, "loss": 1.5, "validation_wer": 0.5})
        run.metrics({"loss": 1.5, "onnx": {"wer": 0.25, "ci": [0.2, 0.3], "name": "ignored"}})
        run.artifact("note.txt")
        Path("model.bin").write_bytes(b"weights")
    assert capfd.readouterr().err == ""
    assert select("select name, status from runs") == [("finetune", "FINISHED")]
    assert dict(select("select key, value from params")) == {
        "optimisation.steps": "3",
        "speeds": "[0.9, 1.1]",
        "source": "https://example.org/speech",
    }
    assert b"hunter2" not in Path("mlflow.db").read_bytes()
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
    assert not {socket.gethostname(), getpass.getuser()} & set(tags.values())
    assert [path.read_text() for path in Path("mlartifacts").rglob("note.txt")] == ["kept"]
    assert curve("finetune", "loss") == [("1", "2.5"), ("2", "1.5")]
    untracked = subprocess.run(["git", "status", "--short"], capture_output=True, text=True, check=True).stdout
    assert "dvclive" not in untracked


def test_a_training_that_is_killed_goes_on_in_the_same_run(folder):
    program = """
import os, signal, sys, time
from pathlib import Path
from velocity.tracking import track_run
with track_run("finetune", {}) as run:
    run.log({"step": 10, "loss": 3.0})
    run.log({"step": 20, "loss": 2.0})
    while not Path("dvclive/finetune/metrics.json").exists():  # until the record has begun
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert killed.returncode == -signal.SIGKILL

    def resumed() -> None:
        with track_run("finetune", {}) as run:
            run.log({"step": 20, "loss": 2.0})  # trained again, after the checkpoint
            run.log({"step": 30, "loss": 1.0})
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        resumed()  # at once, while the recorder of the killed one is still at work
    assert select("select name, status from runs") == [("finetune", "FAILED")]
    assert select("select step, value from metrics order by step") == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert curve("finetune", "loss") == [("10", "3.0"), ("20", "2.0"), ("30", "1.0")]


def test_a_server_that_cannot_be_reached_costs_two_lines_and_no_waiting(folder, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = ""
    with track_run("finetune", {}) as run:
        for step in range(20_000):  # far more than a pipe holds
            run.log({"step": step, "loss": 1.0})
        while "\n" not in said:  # the notice comes while the training runs
            time.sleep(0.1)
            said += capfd.readouterr().err
    said += capfd.readouterr().err
    notice, warning = said.splitlines()
    assert notice.startswith("note: MLflow does not take the record of this run, which is kept for later: ")
    assert warning.startswith("warning: MLflow did not record this run: ")
    assert "hunter2" not in said


def test_what_was_kept_while_the_server_was_down_is_sent_with_the_next_run(folder, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for stage in ("finetune", "evaluate"):
        Path("note.txt").write_text(f"of {stage}")
        with track_run(stage, {"seed": 1}) as run:
            run.log({"step": 10, "loss": 2.5})
            run.artifact("note.txt")
    assert "it is kept in dvclive/unsent and sent with the next run" in capfd.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with track_run("prepare", {}):
        pass
    assert capfd.readouterr().err == ""
    query = "select name, status, value from runs join metrics using (run_uuid) order by name"
    assert select(query) == [("evaluate", "FINISHED", 2.5), ("finetune", "FINISHED", 2.5)]
    assert sorted(path.read_text() for path in Path("mlartifacts").rglob("note.txt")) == ["of evaluate", "of finetune"]
    assert list(Path("dvclive/unsent").iterdir()) == []


def test_tracking_that_is_off_leaves_nothing(folder, monkeypatch):
    monkeypatch.setenv("VELOCITY_TRACKING", "off")
    with track_run("finetune", {"a": 1}) as run:
        run.metrics({"loss": 1.0})
        run.artifact("dvc.yaml")
    assert not Path("mlflow.db").exists()
    assert not Path("dvclive").exists()


def test_inputs_are_what_other_stages_made_at_or_below_the_dependencies(folder):
    assert input_tags("prepare") == {"input/data/raw/a": "aaaa.dir"}
    assert input_tags("finetune") == {"input/data/prepared": "bbbb.dir"}
    assert input_tags("unknown") == {}


def test_a_run_is_the_same_only_with_the_same_stage_parameters_and_inputs(folder):
    same = identity("finetune", {"seed": "1"})
    assert identity("finetune", {"seed": "1"}) == same
    assert identity("finetune", {"seed": "2"}) != same
    Path("dvc.lock").write_text(DVC_LOCK.replace("bbbb", "cccc"))
    assert identity("finetune", {"seed": "1"}) != same
    assert identity("unknown", {"seed": "1"}) is None


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
