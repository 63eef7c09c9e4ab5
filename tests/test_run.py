"""``python -m velocity.run STAGE``: the stage's own end, whatever becomes of the processes around it."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
STAGE = """
import os, signal, sys, time
from velocity.journal import open_journal
journal = open_journal()
journal.params({"seed": 1})
journal.log({"step": 1, "loss": 2.0})
%s
"""
RUN = """
import sys
from velocity.run import end_like, recorded
end_like(recorded("finetune", [sys.executable, "-c", sys.argv[1]]))
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return tmp_path


def start(body: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", RUN, STAGE % body], stderr=subprocess.PIPE, text=True)


def test_a_stage_runs_where_no_record_can_be_kept(project):
    Path(".dvc").touch()  # where the folder of the journals should go
    process = start("sys.exit(7)")
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 7
    assert printed.startswith("note: this run is not recorded:")
    assert printed.count("\n") == 1


def test_a_server_that_never_answers_delays_no_stage(project, monkeypatch):
    """It takes connections and is silent. The stage itself has ended long before the recorder gives up."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        rows = "begun = time.monotonic()\nfor step in range(10_000): journal.log({'step': step, 'loss': 1.0})\n"
        process = start(rows + "open('seconds', 'w').write(str(time.monotonic() - begun))")
        _, printed = process.communicate(timeout=120)
    assert process.returncode == 0
    assert [line.partition(":")[0] for line in printed.splitlines()] == ["note", "warning"]
    (journal,) = Path(".dvc/tmp/journals").glob("*.jsonl")
    assert journal.read_text().count('"loss"') == 1 + 10_000
    assert float(Path("seconds").read_text()) < 30


@pytest.mark.parametrize(
    ("body", "status"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("raise KeyboardInterrupt", -2)],
)
def test_the_exit_status_is_the_stages_own(project, body, status):
    process = start(body)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == status
    assert "warning: MLflow did not record all of this run" in printed
    assert len(list(Path(".dvc/tmp/journals").glob("*.jsonl"))) == 1


def wait_for(process: subprocess.Popen, condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() in (None, -signal.SIGKILL)
        assert time.monotonic() < until
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stage_whose_runner_is_killed_does_not_go_on(project):
    process = start("open('pid', 'w').write(str(os.getpid())); os.rename('pid', 'begun'); time.sleep(600)")
    wait_for(process, Path("begun").exists)
    stage = int(Path("begun").read_text())
    assert runs(stage)
    process.kill()
    process.wait()
    wait_for(process, lambda: not runs(stage))
    assert not runs(stage)


def test_sigterm_reaches_the_stage(project):
    process = start("open('a', 'w').close(); os.rename('a', 'begun'); time.sleep(600)")
    wait_for(process, Path("begun").exists)
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("stage", "message"), [("fetch", "gate.wer_tolerence: unknown key"), ("fetsch", "unknown stage 'fetsch'")]
)
def test_a_mistake_in_any_section_of_the_parameters_or_in_the_name_stops_every_stage(project, stage, message):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("wer_tolerance:", "wer_tolerence: 1\n  wer_tolerance:"))
    before = sorted(Path().iterdir())
    command = [sys.executable, "-m", "velocity.run", stage, "synthetic"]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert message in failed.stderr
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        (["export", "onnx"], "models/finetuned.safetensors"),
        (["evaluate"], "data/raw"),
        (["benchmark"], "models/export"),
    ],
)
def test_a_stage_without_its_inputs_names_them_and_what_to_run(project, stage, missing):
    Path("dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    failed = subprocess.run([sys.executable, "-m", "velocity.run", *stage], capture_output=True, text=True)
    name = "@".join(stage)
    advice = f"missing input of {name}; run `dvc repro {name}`"
    assert (failed.returncode, failed.stderr) == (2, f"error: {missing}: {advice}\n")
