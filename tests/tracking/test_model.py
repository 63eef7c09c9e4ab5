"""The exported model as MLflow keeps it: served by ``mlflow models serve`` itself, and loaded from the registry."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tone_model import write_model, write_speech
from velocity import VelocityASR
from velocity.journal import Journal
from velocity.tracking.recorder import Recorder

pytestmark = pytest.mark.slow
CHAMPION = "models:/velocity-asr@champion"


@pytest.fixture
def champion(tmp_path, monkeypatch) -> Path:
    """A project whose evaluation recorded a model, which was then registered; returns the folder MLflow keeps it in."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    # By its full path: MLflow keeps its connection to a relative one, whatever folder that meant when it was made.
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    write_model(Path("models/export/onnx"))
    write_model(Path("models/export/onnx-int8"), "onnx-int8", gain=2.0)
    with Recorder("evaluate") as recorder:
        recorder.start()
        journal = Journal(str(recorder.path))
        journal.params({"bootstrap": 1000})
        journal.metrics({"wer": 0.25})
        journal.model("models/export/onnx", "models/export/onnx-int8")
        recorder.finish("FINISHED")
    mlflow.set_tracking_uri(uri)
    (model,) = mlflow.search_logged_models(experiment_ids=["1"], output_format="list")
    assert {metric.key: metric.value for metric in model.metrics} == {"wer": 0.25}
    version = mlflow.register_model(model.model_uri, "velocity-asr")
    mlflow.MlflowClient().set_registered_model_alias("velocity-asr", "champion", version.version)
    return Path(model.artifact_location)


@contextmanager
def served(uri: str) -> Iterator[str]:
    """Serve a model as README says, on a free port of this machine alone; yields the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    Path("light/torch").mkdir(parents=True)
    Path("light/torch/__init__.py").write_text("raise ImportError('the server does without PyTorch')")
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "light"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", port]
    with open("serve.log", "w") as log:
        output = {"stdout": log, "stderr": log, "start_new_session": True}
        server = subprocess.Popen(command, env=os.environ | paths, **output)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, Path("serve.log").read_text()
            try:
                urllib.request.urlopen(f"{address}/ping")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def ask(address: str, request: bytes) -> tuple[int, dict]:
    question = urllib.request.Request(f"{address}/invocations", request, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def question(*recordings: bytes) -> bytes:
    rows = [[base64.b64encode(recording).decode()] for recording in recordings]
    return json.dumps({"dataframe_split": {"columns": ["audio"], "data": rows}}).encode()


def test_the_champion_is_served_and_loaded(champion):
    model = VelocityASR.from_pretrained(CHAMPION, quantized=True)
    assert model.folder.name == "onnx-int8"
    assert VelocityASR.from_pretrained(CHAMPION).folder.name == "onnx"
    files = {path.suffix for path in champion.rglob("*") if path.is_file()}
    assert not files & {".pkl", ".pickle", ".pt", ".bin"}, "to load it must not run what is in it"

    recordings = [write_speech(Path(name), "seven lamps", model.folder) for name in ("a.wav", "a.flac", "a.ogg")]
    expected = [{"text": model.transcribe(path)} for path in recordings]
    assert expected[0] == {"text": "seven lamps"}
    with served(CHAMPION) as address:
        assert ask(address, question(*(path.read_bytes() for path in recordings))) == (200, {"predictions": expected})
        status, answer = ask(address, (champion / "serving_input_example.json").read_bytes())
        assert (status, len(answer["predictions"])) == (200, 1)
        for faulty, reason in (
            (question(recordings[0].read_bytes(), b"no recording"), "row 1: cannot be read as audio"),
            (b'{"dataframe_split": {"columns": ["sound"], "data": [["AAAA"]]}}', "missing inputs ['audio']"),
            (b'{"dataframe_split": {"columns": ["audio"], "data": [["/etc/passwd"]]}}', "Invalid input"),
            (b"no JSON", "valid JSON"),
        ):
            status, answer = ask(address, faulty)
            assert status == 400
            assert reason in answer["message"]
            assert "Traceback" not in json.dumps(answer)
