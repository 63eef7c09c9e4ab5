"""One run in MLflow, written in batches; what could not be sent stays pending."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials
from velocity.project import local_database
from velocity.tracking.store import create_store

EXPERIMENT = "velocity-asr"
ARTIFACTS = "mlartifacts"
BATCH = 100  # MLflow's limit of parameters and of tags a request; of metrics it takes ten times as many
IDENTITY = "identity"
FORBIDDEN = re.compile(r"[^\w\-. :/]")  # in the name of a metric


class Ledger:
    """The run that ``first`` (stage, params, identity, tags) describes: created, or resumed if it was cut off.

    ``send`` may be repeated after any failure: nothing is recorded twice. ``run_id``: begun by an earlier ledger.
    """

    def __init__(self, uri: str, first: dict[str, Any], run_id: str | None = None) -> None:
        self.uri, self.first, self.run_id = uri, first, run_id
        self.pending: list[dict[str, Any]] = []
        self._client: Any = None
        self._last: dict[str, int] = {}  # metric → the last step that is recorded

    def send(self) -> None:
        """Raises what MLflow raises."""
        if self._client is None:
            self._client = self._open()
        self._send_metrics()
        while self.pending:
            self._send_one(self._client, self.pending[0])
            del self.pending[0]

    def _open(self) -> Any:
        import mlflow

        create_store(self.uri)
        mlflow.set_tracking_uri(self.uri)
        client = mlflow.MlflowClient()
        stage, identity = self.first["stage"], self.first["identity"]
        experiment = self._experiment(client)
        run = client.get_run(self.run_id) if self.run_id else self._cut_off(client, experiment, identity)
        if run is None:
            tags = {"stage": stage} | ({IDENTITY: identity} if identity else {})
            run = client.create_run(experiment, run_name=stage, tags=tags)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
            histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
            self._last = {name: max(metric.step for metric in history) for name, history in histories.items()}
        self.run_id = run.info.run_id
        self._send_one(client, {"params": self.first["params"], "tags": self.first["tags"]})
        return client

    def _experiment(self, client: Any) -> str:
        """The id of the experiment, made at the first run. Its artifacts lie where MLFLOW_DEFAULT_ARTIFACT_ROOT says,
        else beside a local database, else in the project; a server has a place of its own."""
        from mlflow.exceptions import MlflowException

        if client.get_experiment_by_name(EXPERIMENT) is None:
            folder = database.parent if (database := local_database(self.uri)) else os.environ.get("DVC_ROOT", "")
            local = str(Path(folder, ARTIFACTS).absolute())
            server = self.uri.startswith(("http://", "https://"))
            with suppress(MlflowException):  # another run makes it at the same time
                root = None if server else os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or local
                client.create_experiment(EXPERIMENT, root)
        return client.get_experiment_by_name(EXPERIMENT).experiment_id

    def _cut_off(self, client: Any, experiment: str, identity: str | None) -> Any:
        """The newest run of the same identity, unless it came to its end."""
        if identity is None:
            return None
        query = f"tags.{IDENTITY} = '{identity}'"
        runs = client.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time DESC"])
        return runs[0] if runs and runs[0].info.status != "FINISHED" else None

    def _send_metrics(self) -> None:
        from mlflow.entities import Metric

        entries, last = [], dict(self._last)
        for message in self.pending:
            for metric, value, timestamp, step in message.get("metrics", []):
                name = FORBIDDEN.sub("_", metric)
                if step > last.get(name, -1):
                    entries.append(Metric(name, value, timestamp, step))
                    last[name] = step
        for start in range(0, len(entries), 10 * BATCH):
            batch = entries[start : start + 10 * BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
            self._last |= {metric.key: metric.step for metric in batch}

    def _send_one(self, client: Any, message: dict[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, without_credentials(value)) for name, value in message.get("params", {}).items()]
        tags = [RunTag(name, without_credentials(value)) for name, value in message.get("tags", {}).items()]
        for start in range(0, max(len(params), len(tags)), BATCH):
            client.log_batch(self.run_id, params=params[start : start + BATCH], tags=tags[start : start + BATCH])
        if path := message.get("artifact"):
            log = client.log_artifacts if Path(path).is_dir() else client.log_artifact
            log(self.run_id, path)
        if folders := message.get("model"):
            from velocity.tracking.model import log_model

            log_model(client, self.run_id, [Path(folder) for folder in folders])
        if status := message.get("close"):
            client.set_terminated(self.run_id, status)
