"""The project in operation, on this machine alone: Prefect's server and UI, MLflow's, and a worker for the deployments.

Everything listens on 127.0.0.1, and ends with this command. ``make ui``, or ``python -m flows.ui --help``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.services import HOST, Service, Services, require_free
from velocity.errors import VelocityError
from velocity.project import tracking_uri

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "velocity-asr"  # the work pool that prefect.yaml names
LOGS = Path(".prefect/logs")
ALERT_URL = "VELOCITY_ALERT_URL"  # for this process only: the worker hands its environment on to every flow run


def operate(prefect_port: int, mlflow_port: int) -> None:
    """Start everything, say where it is, and watch it. Raises VelocityError when a part of it ends."""
    tracking = tracking_uri()
    own_mlflow = not tracking.startswith(("http://", "https://"))
    require_free(prefect_port, "--prefect-port")
    if own_mlflow:
        require_free(mlflow_port, "--mlflow-port")
    api = f"http://{HOST}:{prefect_port}/api"
    os.environ["PREFECT_API_URL"] = api
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    environment = {name: value for name, value in os.environ.items() if name != ALERT_URL}
    with Services(LOGS) as running:
        print("Starting the servers (10 to 60 seconds)", flush=True)
        prefect = start_prefect(running, prefect_port, environment)
        mlflow = start_mlflow(running, mlflow_port, tracking, environment) if own_mlflow else None
        prefect.wait_for(f"{api}/health")
        deploy(environment)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        running.start("worker", worker, environment)
        if mlflow:
            mlflow.wait_for(f"http://{HOST}:{mlflow_port}/health")
        print(f"Prefect  http://{HOST}:{prefect_port}", flush=True)
        print(f"MLflow   {f'http://{HOST}:{mlflow_port}' if mlflow else 'as MLFLOW_TRACKING_URI says'}", flush=True)
        print(f"To show other commands there: export PREFECT_API_URL={api}", flush=True)
        print("Ctrl-C stops all of it", flush=True)
        running.watch()


def start_prefect(running: Services, port: int, environment: Mapping[str, str]) -> Service:
    """Prefect's server, in the database that PREFECT_API_DATABASE_CONNECTION_URL names or the project's own."""
    page = f"http://{HOST}:{port}"
    settings = {"PREFECT_UI_API_URL": f"{page}/api", "PREFECT_UI_URL": page}  # for pages and links off port 4200
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    return running.start("Prefect server", command, {**environment, **settings})


def start_mlflow(running: Services, port: int, store: str, environment: Mapping[str, str]) -> Service:
    """MLflow's server over the store that the pipeline writes to: the runs need this server to be seen only."""
    from velocity.tracking.ledger import ARTIFACTS
    from velocity.tracking.store import create_store

    create_store(store)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    defaults = {"MLFLOW_ARTIFACTS_DESTINATION": ARTIFACTS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    settings = {"MLFLOW_BACKEND_STORE_URI": store}  # on a command line everybody could read a password in it
    return running.start("MLflow server", command, {**defaults, **environment, **settings})


def deploy(environment: Mapping[str, str]) -> None:
    """The work pool, the deployments of prefect.yaml and, where a webhook is set, the alerts."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
        end_dead_runs(client)
    if url := os.environ.get(ALERT_URL):
        from flows.alerts import alert

        alert(url)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line.strip(" │╭╮╰╯─") for line in (done.stdout + done.stderr).splitlines()]
        raise VelocityError(f"prefect.yaml: not deployed: {' '.join(filter(None, lines[-8:]))}")


def end_dead_runs(client: SyncPrefectClient) -> None:
    """Runs that were killed together with their worker: as long as they pass for running, others wait for their end."""
    import psutil
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Crashed

    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}})
    for run in client.read_flow_runs(flow_run_filter=running):
        process = run.infrastructure_pid or ""
        if run.work_pool_name == POOL and not (process.isdigit() and psutil.pid_exists(int(process))):
            client.set_flow_run_state(run.id, Crashed(message="its process was killed"), force=True)


def main(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's server and UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow's server.")] = 5000,
) -> None:
    """Start Prefect, MLflow and a worker on this machine, with the deployments of prefect.yaml; Ctrl-C stops them.

    Flow runs work in this folder. MLflow shows the project's store, or what MLFLOW_TRACKING_URI names; if that is
    a server's address, that server is used. VELOCITY_ALERT_URL: a webhook for failed runs. Prefect's and MLflow's own
    settings (PREFECT_API_DATABASE_CONNECTION_URL, …) are passed on. The servers' logs are in .prefect/logs.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        operate(prefect_port, mlflow_port)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except VelocityError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
