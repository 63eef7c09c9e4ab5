"""Journals recorded by a real MLflow in SQLite, read back with SQL."""

import getpass
import hashlib
import itertools
import logging
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tone_model import write_model
from velocity.journal import Journal
from velocity.tracking import recorder as recording
from velocity.tracking.ledger import Ledger
from velocity.tracking.origins import identity, input_tags
from velocity.tracking.recorder import Recorder, send_kept
from velocity.tracking.store import create_store

DVC_YAML = """
stages:
  prepare: {cmd: x, deps: [data/raw], outs: [data/prepared]}
  finetune: {cmd: x, deps: [data/prepared, code], outs: [model.bin], metrics: [{finetune.json: {cache: false}}]}
"""
DVC_LOCK = """
schema: '2.0'
stages:
  fetch@a: {cmd: x, outs: [{path: data/raw/a, hash: md5, md5: aaaa.dir}]}
  prepare: {cmd: x, outs: [{path: data/prepared, hash: md5, md5: bbbb.dir}]}
  finetune: {cmd: x, outs: [{path: model.bin, hash: md5, md5: stale}]}
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """An empty store: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, database):
    """A project folder under git in which tracking is on and MLflow keeps its defaults."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VELOCITY_TRACKING", raising=False)
    # By its full path: MLflow keeps its connection to a relative one, whatever folder that meant when it was made.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # as the recorder sets it before MLflow is imported
    monkeypatch.setattr(recording, "TOGETHER", 0.1)
    monkeypatch.setattr(recording, "AGAIN", 0.1)
    shutil.copy(database, "mlflow.db")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("dvc.lock").write_text(DVC_LOCK)
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path(".gitignore").write_text("/.dvc/tmp/\n/mlflow.db\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    return tmp_path


def select(query: str) -> list[tuple]:
    with sqlite3.connect("mlflow.db") as database:
        return database.execute(query).fetchall()


@contextmanager
def recorded(stage: str, status: str = "FINISHED") -> Iterator[Journal]:
    """What ``velocity.run`` does around a stage, with the block in the place of the stage."""
    with Recorder(stage) as recorder:
        recorder.start()
        yield Journal(str(recorder.path))
        recorder.finish(status)


def test_a_run_keeps_parameters_metrics_artifacts_and_origins(folder, capfd):
    Path("note.txt").write_text("kept")
    with recorded("finetune") as journal:
        source = "https://me:hunter2@example.org/speech"
        journal.params({"optimisation": {"steps": 3}, "speeds": [0.9, 1.1], "source": source})
        journal.log({"step": 1, "loss": 2.5})
        journal.log({"step": 2, "loss": 1.5, "validation_wer": 0.5})
        journal.metrics({"onnx (2%)": {"wer": 0.25, "ci": [0.2, 0.3], "name": "ignored"}})
        journal.artifact("note.txt")
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
        ("onnx _2__.ci.0", 2, 0.2),
        ("onnx _2__.ci.1", 2, 0.3),
        ("onnx _2__.wer", 2, 0.25),
        ("validation_wer", 2, 0.5),
    ]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    tags = dict(select("select key, value from tags"))
    written = hashlib.md5(b"weights").hexdigest()
    assert tags.items() >= {"stage": "finetune", "mlflow.source.git.commit": commit, "git.dirty": "false"}.items()
    assert tags.items() >= {"input/data/prepared": "bbbb.dir", "output/model.bin": written}.items()
    assert not {socket.gethostname(), getpass.getuser()} & set(tags.values())
    assert [path.read_text() for path in Path("mlartifacts").rglob("note.txt")] == ["kept"]
    assert list(recording.FOLDER.iterdir()) == []


def test_a_run_that_was_cut_off_is_resumed(folder):
    killed, resumed = ("KILLED", [(10, 3.0), (20, 2.0)]), ("FINISHED", [(20, 2.0), (30, 1.0)])
    for status, rows in (killed, resumed, ("FAILED", [])):  # a finished run is not resumed
        with recorded("finetune", status) as journal:
            journal.params({"seed": 1})
            for step, loss in rows:  # step 20 is trained again, after the checkpoint
                journal.log({"step": step, "loss": loss})
    assert sorted(select("select status from runs")) == [("FAILED",), ("FINISHED",)]
    assert select("select step, value from metrics order by step") == [(10, 3.0), (20, 2.0), (30, 1.0)]


def test_a_journal_that_a_kill_left_is_sent_by_the_next_run_and_one_being_written_is_not(folder):
    for killed in (True, False):
        with Recorder("finetune") as recorder:  # and neither started nor finished
            journal = Journal(str(recorder.path))
            journal.params({"killed": killed})
            journal.log({"step": 10, "loss": 3.0})
            with open(recorder.path, "a") as file:
                file.write('{"metrics": [["loss", 2.')  # in the middle of a line
            if killed:
                continue
            with recorded("evaluate") as journal:
                journal.params({})
                journal.metrics({"wer": 0.25})
                journal.model(write_model(Path("export/onnx")))
            assert list(recording.FOLDER.iterdir()) == [recorder.path]
    assert sorted(select("select name, status from runs")) == [("evaluate", "FINISHED"), ("finetune", "KILLED")]
    assert select("select key, value from params") == [("killed", "True")]
    assert sorted(select("select key, step, value from metrics")) == [("loss", 10, 3.0), ("wer", 0, 0.25)]
    assert select("select metric_name, metric_value from logged_model_metrics") == [("wer", 0.25)]
    ((model,),) = select("select artifact_location from logged_models")
    files = {path.suffix for path in Path(model).rglob("*") if path.is_file()}
    assert ".onnx" in files
    assert not files & {".pkl", ".pickle", ".pt", ".bin"}, "to load it must not run what is in it"


def test_a_server_that_is_down_costs_a_line_and_the_record_is_sent_once_later(folder, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    for stage in ("finetune", "evaluate"):
        Path("note.txt").write_text(f"of {stage}")
        with recorded(stage) as journal:
            journal.params({"seed": 1})
            begun = time.monotonic()
            for step in range(2_000):
                journal.log({"step": step, "loss": 1.0})
            assert time.monotonic() - begun < 30  # nothing waits for the server
            journal.artifact("note.txt")
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["note", "warning"] * 2
    assert "hunter2" not in "".join(lines)
    Path("note.txt").write_text("of another day")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    with recorded("prepare") as journal:
        journal.params({})
    send_kept()
    assert capfd.readouterr().err == ""
    query = "select name, status, count(*) from runs join metrics using (run_uuid) group by name order by name"
    assert select(query) == [("evaluate", "FINISHED", 2_000), ("finetune", "FINISHED", 2_000)]
    assert sorted(path.read_text() for path in Path("mlartifacts").rglob("note.txt")) == ["of evaluate", "of finetune"]
    assert list(recording.FOLDER.iterdir()) == []


def test_a_run_is_the_same_only_with_the_same_stage_parameters_and_inputs(folder):
    """Inputs are what other stages wrote at or below the dependencies."""
    assert input_tags("prepare") == {"input/data/raw/a": "aaaa.dir"}
    tags = input_tags("finetune")
    same = identity("finetune", {"seed": "1"}, tags)
    assert identity("finetune", {"seed": "1"}, tags | {"git.dirty": "true"}) == same
    assert identity("finetune", {"seed": "2"}, tags) != same
    Path("dvc.lock").write_text(DVC_LOCK.replace("bbbb", "cccc"))
    assert identity("finetune", {"seed": "1"}, input_tags("finetune")) != same
    assert identity("unknown", {"seed": "1"}, input_tags("unknown")) is None


class Refusing:
    """A ledger that takes everything but an artifact; keeps the identities it was made with, and what it took."""

    made: ClassVar[list[str]] = []
    taken: ClassVar[list[dict]] = []

    def __init__(self, uri, stage, identity, run_id=None, sent=0):
        self.run_id, self.sent = "run", sent
        self.made.append(identity)

    def send(self, messages):
        for message in messages[self.sent :]:
            if "artifact" in message:
                raise FileNotFoundError("gone")
            self.taken.append(message)
            self.sent += 1


@pytest.fixture
def refusing(folder, monkeypatch):
    monkeypatch.setattr(Refusing, "made", [])
    monkeypatch.setattr(Refusing, "taken", [])
    monkeypatch.setattr(recording, "Ledger", Refusing)
    return Refusing


def left_behind(stage: str) -> Journal:
    with Recorder(stage) as recorder:
        journal = Journal(str(recorder.path))
        journal.params({"seed": 1})
    return journal


def test_a_kept_record_has_the_inputs_of_its_own_run(refusing):
    left_behind("finetune")
    then = identity("finetune", {"seed": "1"}, input_tags("finetune"))
    Path("dvc.lock").write_text(DVC_LOCK.replace("bbbb", "cccc"))
    send_kept()
    assert refusing.made == [then]


def test_a_record_that_is_refused_does_not_hold_up_later_ones(refusing, capfd):
    left_behind("evaluate").artifact("gone.txt")
    left_behind("finetune")
    send_kept()
    assert [path.stem.split("-")[1] for path in recording.FOLDER.glob("*.jsonl")] == ["evaluate"]
    assert capfd.readouterr().err.count("\n") == 1


def test_a_part_of_a_line_does_not_hide_how_the_stage_ended(refusing):
    with Recorder("finetune") as recorder:
        Journal(str(recorder.path)).params({"seed": 1})
        with open(recorder.path, "a") as file:
            file.write('{"metrics": [["loss", 2.')
        recorder.start()
        recorder.finish("KILLED")
    assert refusing.taken[-1] == {"close": "KILLED"}


def test_an_artifact_that_cannot_be_kept_is_a_line(refusing, capfd):
    with recorded("evaluate") as journal:
        journal.params({"seed": 1})
        journal.artifact("missing.txt")
    assert [line.partition(":")[0] for line in capfd.readouterr().err.splitlines()] == ["note", "note", "warning"]


class Weather:
    """MLflow's client over a connection that loses requests ("lost"), or the answers to them ("unanswered")."""

    def __init__(self, client, outcomes: list[str]) -> None:
        self.client, self.outcomes = client, outcomes

    def __getattr__(self, name):
        def call(*arguments, **named):
            outcome = self.outcomes.pop() if self.outcomes else "fine"
            if outcome == "lost":
                raise ConnectionError("the request never came")
            answer = getattr(self.client, name)(*arguments, **named)
            if outcome == "unanswered":
                raise ConnectionError("the answer never came")
            return answer

        return call


IDENTITIES = itertools.count()


@settings(max_examples=15)
@given(
    weather=st.lists(st.sampled_from(["fine", "lost", "unanswered"]), max_size=30),
    reported=st.integers(1, 600),  # MLflow takes 1000 metrics at once
    again=st.integers(0, 20),
)
def test_whatever_the_connection_does_every_row_is_recorded_once(connected, weather, reported, again):
    client, connect = connected
    connect(Weather(client, weather))
    identity = str(next(IDENTITIES))
    first = {"params": {"seed": "1"}, "tags": {"git.dirty": "false"}}
    resumed_at = max(1, reported - again)
    for status, steps in (("KILLED", range(1, reported + 1)), ("FINISHED", range(resumed_at, reported + 11))):
        rows = [{"metrics": [["loss", 1 / step, step, step], ["rate", 0.1, step, step]]} for step in steps]
        messages, ledger = [first, *rows, {"close": status}], None
        while ledger is None or ledger.sent < len(messages):
            with suppress(ConnectionError):
                ledger = ledger or Ledger("http://server", "finetune", identity)
                ledger.send(messages)
    (run,) = client.search_runs(["1"], f"tags.identity = '{identity}'")
    assert (run.info.status, run.data.params, run.data.tags["git.dirty"]) == ("FINISHED", {"seed": "1"}, "false")
    for name in ("loss", "rate"):
        history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert history == [(step, 1 / step if name == "loss" else 0.1) for step in range(1, reported + 11)]


@pytest.fixture(scope="module")
def connected(database, tmp_path_factory):
    """A client of a store, and a function that has MLflow use another one in its place."""
    import mlflow

    uri = f"sqlite:///{shutil.copy(database, tmp_path_factory.mktemp('connected'))}"
    client = mlflow.MlflowClient(uri, uri)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "set_tracking_uri", lambda uri: None)
        yield client, lambda other: patch.setattr(mlflow, "MlflowClient", lambda: other)
