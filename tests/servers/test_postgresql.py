"""MLflow's registry and Prefect's server in PostgreSQL, chosen by settings alone."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.services import HOST
from tests.exported import export
from tests.servers.conftest import PASSWORD, free_port
from velocity import VelocityASR
from velocity.cli import main
from velocity.registry import NAME, Champions, Registry, register

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(autouse=True)
def settings(project, postgresql, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgresql.url("mlflow"))
    monkeypatch.delenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", raising=False)


@pytest.fixture(scope="module")
def registry(project, postgresql) -> Registry:
    """Two versions of a model, the second of which is the champion."""
    postgresql.create("mlflow")
    registry = Registry(postgresql.url("mlflow"))
    folder = Path.cwd()
    os.chdir(project)
    try:
        for gain in (1.0, 2.0):
            export(project, gain)
            registry.promote(register(registry), judged_beside=registry.champions().champion)
    finally:
        os.chdir(folder)
    return registry


def test_the_registry_promotes_loads_and_rolls_back(registry, project, capsys):
    assert registry.champions() == Champions("2", "1", None)
    kept = [path for path in (project / "mlartifacts").rglob("model.onnx") if path.parent.name == "onnx-int8"]
    assert len(kept) == 2, "artifacts go to the project, where nothing else was said"
    model = VelocityASR.from_pretrained(f"models:/{NAME}@champion", quantized=True)
    assert (model.folder / "model.onnx").read_bytes() == Path("models/export/onnx-int8/model.onnx").read_bytes()
    for said in ("champion: version 1, previous: none, challenger: none", "no previous champion to go back to"):
        with pytest.raises(SystemExit):
            main(["rollback"])
        printed = capsys.readouterr()
        assert said in printed.out + printed.err
        assert PASSWORD not in printed.out + printed.err
    registry.promote("2", judged_beside="1")


def test_what_was_cut_off_is_finished_and_two_wait_for_each_other(registry, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registry.client, "delete_registered_model_tag", killed)  # the last of a promotion's writes
        with pytest.raises(KeyboardInterrupt):
            registry.rollback()
    assert "pending" in registry.client.get_registered_model(NAME).tags
    events = []

    def second() -> None:
        with Registry(registry.uri).alone() as now:
            events.append(now)

    with registry.alone() as now:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=1)
        assert (now, events) == (Champions("1", None, None), [])
    thread.join(timeout=60)
    assert events == [Champions("1", None, None)]
    assert "pending" not in registry.client.get_registered_model(NAME).tags
    registry.promote("2", judged_beside="1")


def test_a_flow_runs_under_prefect_on_postgresql(registry, project, postgresql, services):
    postgresql.create("prefect")
    port = free_port()
    api = f"http://{HOST}:{port}/api"
    home = {"PREFECT_HOME": str(project / ".prefect"), "PYTHONPATH": str(ROOT)}
    database = {"PREFECT_API_DATABASE_CONNECTION_URL": postgresql.url("prefect", "postgresql+asyncpg")}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    server = services.start("Prefect", command, {**os.environ, **home, **database})
    server.wait_for(f"{api}/health")
    flow = [sys.executable, "-m", "flows.rollback", "--leaving", "2"]
    environment = {**os.environ, **home, "PREFECT_API_URL": api}
    done = subprocess.run(flow, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "champion: version 1, previous: none, challenger: none\n"), done.stderr
    assert registry.champions() == Champions("1", None, None)
    query = "select flow.name, state_type from flow_run join flow on flow.id = flow_run.flow_id"
    assert postgresql.rows(query, "prefect") == [("rollback", "COMPLETED")]
    assert [data for (data,) in postgresql.rows("select data from artifact", "prefect")] == [
        "Rolled back. champion: version 1, previous: none, challenger: none."
    ]
    server.stop()
    printed = server.log.read_text() + done.stdout + done.stderr
    logged = str(postgresql.rows("select message from log", "prefect"))
    assert PASSWORD not in printed + logged
    assert "champion: version 1" in logged
