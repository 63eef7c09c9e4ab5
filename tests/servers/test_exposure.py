"""What must not get out: passwords into anything that is kept or printed, servers to other machines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows import ui
from flows.services import HOST, Services
from tests.exported import export
from tests.servers.conftest import free_port
from velocity.artefacts.site import Site
from velocity.errors import VelocityError, without_credentials
from velocity.recognition.offline import VelocityASR
from velocity.registry import Registry, register

ROOT = Path(__file__).parents[2]
PASSWORD = "hunter2"  # part of every secret that is planted
SECRETS = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_KEY", "GITHUB_TOKEN", "MLFLOW_TRACKING_TOKEN"]
STAGE = """
import sys
from velocity.journal import Journal
from velocity.tracking.recorder import Recorder
with Recorder("finetune") as recorder:
    recorder.start()
    journal = Journal(str(recorder.path))
    journal.params({"source": "https://me:hunter2@example.org/a?token=hunter2"})
    journal.artifact("dvc.yaml")
    journal.model("models/export/onnx", "models/export/onnx-int8")
    print("trained")
    recorder.finish("FINISHED")
open("out.txt", "w").write("weights")
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A git and DVC project, a password wherever settings hold one."""
    monkeypatch.chdir(tmp_path)
    export(tmp_path, gain=1.0)
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text("stages: {finetune: {cmd: python stage.py, deps: [stage.py], outs: [out.txt]}}")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "remote", "add", "origin", "https://token:hunter2@example.org/p.git"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "stage.py", "dvc.yaml"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "start"], check=True)
    monkeypatch.delenv("VELOCITY_TRACKING", raising=False)
    for name in SECRETS:
        monkeypatch.setenv(name, f"{PASSWORD}-{name}")
    monkeypatch.setenv("VELOCITY_ALERT_URL", f"https://hooks.example.org/{PASSWORD}")
    return tmp_path


def leaks(folder: Path) -> list[Path]:
    """Files that a password has got into, but for those that were planted with one."""
    planted = {folder / "stage.py", folder / ".git/config"}
    files = (path for path in folder.rglob("*") if path.is_file() and path not in planted)
    return [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_nothing_that_the_registry_and_the_tracking_keep_has_a_password(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "stage.py"], capture_output=True, text=True, check=True)
    register(Registry())
    assert (project / "mlflow.db").stat().st_size > 100_000
    assert PASSWORD not in done.stdout + done.stderr
    assert leaks(project) == []
    (project / "mlartifacts/note.txt").write_text(PASSWORD)
    assert leaks(project) == [project / "mlartifacts/note.txt"], "it would have been found"


@pytest.mark.slow
def test_nothing_that_a_flow_prints_and_prefect_keeps_has_a_password(project, monkeypatch):
    """The tracking server is gone, so that every line that names it is printed, and kept by Prefect."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@{HOST}:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("PREFECT_HOME", str(project / ".prefect"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-m", "flows.pipeline"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning: MLflow did not record" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    assert (project / ".prefect/prefect.db").stat().st_size > 100_000
    assert leaks(project) == []


def test_errors_name_addresses_without_their_passwords(monkeypatch):
    text = "http://me:hunter2@host/a?X-Amz-Signature=hunter2&part=1 and s3://key:hunter2@bucket/"
    assert without_credentials(text) == "http://host/a?X-Amz-Signature=…&part=1 and s3://bucket/"
    assert without_credentials("mail me@example.org, see https://example.org/a@b") == (
        "mail me@example.org, see https://example.org/a@b"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@{HOST}:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(VelocityError) as caught:
        VelocityASR.from_pretrained("models:/velocity-asr@champion")
    assert PASSWORD not in str(caught.value)


def listening(process: psutil.Process) -> set[str]:
    """The addresses at which a process and its children take connections."""
    found = (c for each in [process, *process.children(recursive=True)] for c in each.net_connections("inet"))
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def test_a_server_is_reached_from_this_machine_alone(tmp_path):
    export(tmp_path, gain=1.0)
    port = str(free_port())
    command = [
        sys.executable,
        "-m",
        "velocity.cli",
        "serve",
        "--model",
        str(tmp_path / "models/export"),
        "--port",
        port,
    ]
    with Services(tmp_path / "logs") as services:
        service = services.start("serve", command, os.environ)
        service.wait_for(f"http://{HOST}:{port}/health")
        assert listening(psutil.Process(service.process.pid)) == {HOST}
    with Site(tmp_path, 0):
        assert listening(psutil.Process()) == {HOST}


def test_the_servers_of_make_ui_are_told_to_listen_here():
    started = []

    class Recording(Services):
        def start(self, name, command, environment):
            started.append(command)

    with Recording(Path()) as services:
        ui.start_prefect(services, 4200, {})
        ui.start_mlflow(services, 5000, "http://nowhere", {})
    assert len(started) == 2
    for command in started:
        assert command[command.index("--host") + 1] == HOST
        assert not re.search(r"://", " ".join(command)), "others can read a command line"
