"""One run in MLflow, written in batches; what was not taken stays pending."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials
from velocity.tracking.store import create_store, local_database

EXPERIMENT = "velocity-asr"
ARTIFACTS = "mlartifacts"  # beside a local mlflow.db, or in the project
BATCH = 100  # entries a request: MLflow's limit for parameters and tags; ten times as many metrics
IDENTITY = "identity"
FORBIDDEN = re.compile(r"[^\w\-. :/]")  # in the name of a metric


def artifact_root(uri: str) -> str | None:
    """Where artifacts go from here: as MLFLOW_DEFAULT_ARTIFACT_ROOT says (``s3://bucket/folder``, any MLflow knows), or
    beside a local database, or in the project. None for a server, which keeps them where it was told to.
    """
    if uri.startswith(("http://", "https://")):
        return None
    database = local_database(uri)
    folder = database.parent if database else Path(os.environ.get("DVC_ROOT", ""))
    return os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or str(folder.absolute() / ARTIFACTS)


class Ledger:
    """The run that ``first`` (stage, params, identity, tags) describes: opened, or gone on with if it was cut off.

    Whatever fails in ``send``, calling it again sends what is still pending: sending twice does not record twice.
    """

    def __init__(self, uri: str, first: dict[str, Any]) -> None:
        self.uri, self.first = uri, first
        self.pending: list[dict[str, Any]] = []
        self.run_id: str | None = None
        self._client: Any = None
        self._last: dict[str, int] = {}  # metric → the last step that is recorded

    def send(self) -> None:
        """Raises what MLflow raises."""
        if self.run_id is None:
            self._open()
        if not self.pending:
            return
        self._send_metrics()
        while self.pending:
            self._send_one(self.pending[0])
            del self.pending[0]

    def _open(self) -> None:
        import mlflow

        create_store(self.uri)
        mlflow.set_tracking_uri(self.uri)
        self._client = mlflow.MlflowClient()
        stage, identity = self.first["stage"], self.first["identity"]
        experiment = self._experiment()
        run = self._cut_off(experiment, identity) if identity else None
        if run is None:
            tags = {"stage": stage} | ({IDENTITY: identity} if identity else {})
            run = self._client.create_run(experiment, run_name=stage, tags=tags)
            self._last = {}
        else:
            self._client.update_run(run.info.run_id, status="RUNNING")
            histories = {name: self._client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
            self._last = {name: max(metric.step for metric in history) for name, history in histories.items()}
        self.pending.insert(0, {"params": self.first["params"], "tags": self.first["tags"]})
        self.run_id = run.info.run_id

    def _experiment(self) -> str:
        """The id of the experiment, made at the first run."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                return self._client.create_experiment(EXPERIMENT, artifact_root(self.uri))
            except MlflowException:  # another run made it in the meantime
                found = self._client.get_experiment_by_name(EXPERIMENT)
        return found.experiment_id

    def _cut_off(self, experiment: str, identity: str) -> Any:
        """The newest run of the same identity, unless it came to its end."""
        query = f"tags.{IDENTITY} = '{identity}'"
        runs = self._client.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time DESC"])
        return runs[0] if runs and runs[0].info.status != "FINISHED" else None

    def _send_metrics(self) -> None:
        from mlflow.entities import Metric

        entries, last = [], dict(self._last)
        for message in self.pending:
            for metric, value, timestamp, step in message.get("curves", []) + message.get("metrics", []):
                name = FORBIDDEN.sub("_", metric)
                if step > last.get(name, -1):
                    entries.append(Metric(name, value, timestamp, step))
                    last[name] = step
        for start in range(0, len(entries), 10 * BATCH):
            batch = entries[start : start + 10 * BATCH]
            self._client.log_batch(self.run_id, metrics=batch)
            self._last |= {metric.key: metric.step for metric in batch}

    def _send_one(self, message: dict[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(name, without_credentials(value)) for name, value in message.get("params", {}).items()]
        tags = [RunTag(name, without_credentials(value)) for name, value in message.get("tags", {}).items()]
        for start in range(0, max(len(params), len(tags)), BATCH):
            self._client.log_batch(self.run_id, params=params[start : start + BATCH], tags=tags[start : start + BATCH])
        if path := message.get("artifact"):
            log = self._client.log_artifacts if Path(path).is_dir() else self._client.log_artifact
            log(self.run_id, path)
        if folders := message.get("model"):
            from velocity.tracking.model import log_model

            log_model(self._client, self.run_id, [Path(folder) for folder in folders])
        if status := message.get("close"):
            self._client.set_terminated(self.run_id, status)
