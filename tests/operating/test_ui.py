"""`make ui` as its user has it: real servers, a real worker and a listener for alerts, over a toy DVC project."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from ruamel.yaml import YAML

from flows import ui as module
from tests.servers.conftest import free_port

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SECRET = "hook-secret-1f3a"
PROJECT = """
stages:
  fetch:
    cmd: sleep ${seconds} && cp source.txt fetched.txt
    params: [seconds]
    deps: [source.txt]
    outs: [fetched.txt]
  check:
    cmd: echo 'error - the data is bad' && exit 2
    deps: [fetched.txt]
    outs: [checked.txt]
"""


def until(true: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"no {what} after {seconds:.0f} s"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def alerts() -> Iterator[SimpleNamespace]:
    """A webhook: what was posted to it, and its address."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    posted: list[tuple[str, dict[str, str]]] = []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(posted=posted, url=f"http://127.0.0.1:{server.server_port}/{SECRET}")
    server.shutdown()


@pytest.fixture(scope="module")
def operated(alerts, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """`make ui` at work in a project of its own, with the databases where the settings say."""
    folder = tmp_path_factory.mktemp("operated") / "project"
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", folder)
    (folder / "velocity").symlink_to(ROOT / "velocity")
    for name, text in {"dvc.yaml": PROJECT, "params.yaml": "seconds: 0\n", "source.txt": "one\n"}.items():
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True, cwd=folder)
    prefect, mlflow = free_port(), free_port()
    database = folder / "elsewhere.db"
    own = {
        "VELOCITY_ALERT_URL": alerts.url,
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/runs.db",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ("PREFECT_HOME", "PYTHONPATH")}
    command = [sys.executable, "-m", "flows.ui", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    with open(folder / "said.txt", "w") as said:
        ui = subprocess.Popen(command, cwd=folder, env=inherited | own, stdout=said, stderr=said)
    spoken = lambda: (folder / "said.txt").read_text()  # noqa: E731
    try:
        until(lambda: "Ctrl-C" in spoken() or ui.poll() is not None, "word that all is up", 300)
        assert ui.poll() is None, spoken()
        pages = [f"http://127.0.0.1:{port}" for port in (prefect, mlflow)]
        yield SimpleNamespace(folder=folder, ui=ui, pages=pages, said=spoken, database=database)
    finally:
        ui.terminate()
        ui.wait()


@pytest.fixture
def client(operated):
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(f"{operated.pages[0]}/api") as client:
        yield client


def listeners(process: psutil.Process) -> set[str]:
    family = [process, *process.children(recursive=True)]
    sockets = [found for member in family for found in member.net_connections("inet") if found.status == "LISTEN"]
    return {found.laddr.ip for found in sockets}


def test_the_pages_are_there_on_loopback_alone_and_the_settings_went_through(operated):
    prefect, mlflow = operated.pages
    assert f"Prefect  {prefect}\nMLflow   {mlflow}\n" in operated.said()
    for page, title in ((prefect, "<title>Prefect"), (mlflow, "<title>MLflow")):
        assert title in urlopen(page).read().decode()
    assert json.load(urlopen(f"{prefect}/ui-settings"))["api_url"] == f"{prefect}/api"
    assert listeners(psutil.Process(operated.ui.pid)) == {"127.0.0.1"}
    assert operated.database.exists()
    assert (operated.folder / "runs.db").exists()


def test_every_deployment_of_the_file_is_there(operated, client):
    names = {deployment.name: deployment for deployment in client.read_deployments()}
    written = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    assert set(names) == {entry["name"] for entry in written} == {"pipeline", "retrain", "ablate", "rollback"}
    for entry in written:
        deployed = names[entry["name"]]
        assert deployed.tags == ["velocity-asr"]
        assert deployed.entrypoint == entry["entrypoint"]
        assert set(deployed.parameters) == set(deployed.parameter_openapi_schema["properties"])
        assert deployed.global_concurrency_limit.limit == 1
        assert str(operated.folder) not in json.dumps(deployed.pull_steps)
        assert len(deployed.schedules) == len(entry.get("schedules", []))


def test_a_schedule_fires(operated, client):
    from prefect.client.schemas.schedules import IntervalSchedule

    deployment = client.read_deployment_by_name("pipeline/pipeline")
    soon = datetime.now(UTC) + timedelta(seconds=15)
    often = IntervalSchedule(interval=timedelta(minutes=1), anchor_date=soon)  # should 15 seconds not be enough
    (schedule,) = client.create_deployment_schedules(deployment.id, [(often, True)])
    runs = lambda: [run for run in client.read_flow_runs() if run.auto_scheduled and run.state.is_final()]  # noqa: E731
    run = until(runs, "scheduled run")[0]
    client.delete_deployment_schedule(deployment.id, schedule.id)
    assert run.deployment_id == deployment.id
    assert "stage check failed: error - the data is bad" in run.state.message
    assert (operated.folder / "fetched.txt").read_text() == "one\n"


def test_a_failure_is_posted_to_the_webhook_whose_address_nobody_sees(operated, alerts, client):
    client.create_flow_run_from_deployment(client.read_deployment_by_name("rollback/rollback").id)
    until(lambda: alerts.posted, "alert")
    ((path, message),) = alerts.posted
    assert path == f"/{SECRET}"
    assert message["text"].startswith("rollback failed: ")
    assert "no previous champion" in message["text"]
    assert f"({operated.pages[0]}/runs/flow-run/" in message["text"]
    written = [path for path in operated.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


def test_a_run_that_was_killed_with_its_worker_holds_up_nobody(operated, client):
    from prefect.states import Running

    rollback = client.read_deployment_by_name("rollback/rollback")
    dead, alive = (client.create_flow_run_from_deployment(rollback.id, state=Running()) for _ in range(2))
    client.update_flow_run(dead.id, infrastructure_pid="99999999")
    client.update_flow_run(alive.id, infrastructure_pid=str(os.getpid()))
    module.end_dead_runs(client)
    assert client.read_flow_run(dead.id).state.name == "Crashed"
    assert client.read_flow_run(alive.id).state.is_running()


def arguments(family: list[psutil.Process]) -> list[str]:
    """The last argument of each command line."""
    last = []
    for member in family:
        with suppress(psutil.NoSuchProcess):
            last += member.cmdline()[-1:]
    return last


def test_an_interrupt_ends_everything_that_was_started(operated, client):
    """Last: it stops the servers. A run is at work, a second one waits for it."""
    (operated.folder / "params.yaml").write_text("seconds: 599.5\n")
    pipeline = client.read_deployment_by_name("pipeline/pipeline")
    first = client.create_flow_run_from_deployment(pipeline.id)
    ui = psutil.Process(operated.ui.pid)
    family = lambda: ui.children(recursive=True)  # noqa: E731
    until(lambda: "599.5" in arguments(family()), "stage at work")
    second = client.create_flow_run_from_deployment(pipeline.id)
    until(lambda: client.read_flow_run(second.id).state.name == "AwaitingConcurrencySlot", "waiting of the second run")
    everybody = family()
    operated.ui.send_signal(signal.SIGINT)
    assert operated.ui.wait(timeout=120) == 0
    assert [member for member in everybody if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []
    assert operated.said().endswith("stopped\n")
    with sqlite3.connect(operated.database) as database:
        (state,) = database.execute("select state_name from flow_run where name = ?", [first.name]).fetchone()
    assert state == "Crashed"


def test_a_port_that_is_taken_is_one_line(capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for ports, option in (((port, free_port()), "--prefect-port"), ((free_port(), port), "--mlflow-port")):
            with pytest.raises(SystemExit) as ended:
                module.main(*ports)
            assert ended.value.code == 1
            assert (
                capsys.readouterr().err
                == f"error: port {port}: address already in use; choose another one with {option}\n"
            )
