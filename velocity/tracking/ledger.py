"""One run in MLflow, written in batches."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials
from velocity.project import local_database
from velocity.tracking.model import log_model
from velocity.tracking.store import connect

EXPERIMENT = "velocity-asr"
ARTIFACTS = "mlartifacts"
FORBIDDEN = re.compile(r"[^\w\-. :/]")  # in the name of a metric


class Ledger:
    """A run of ``stage``: created, or resumed, if one of the same ``identity`` was cut off or ``run_id`` is given.

    ``send`` may be repeated after any failure: nothing is recorded twice. Both raise what MLflow raises.
    """

    def __init__(
        self, uri: str, stage: str, identity: str | None = None, run_id: str | None = None, sent: int = 0
    ) -> None:
        self.sent = sent  # messages
        self._client = client = connect(uri)
        experiment = self._experiment(uri)
        run = client.get_run(run_id) if run_id else self._cut_off(experiment, identity)
        if run is None:
            tags = {"stage": stage} | ({"identity": identity} if identity else {})
            run = client.create_run(experiment, run_name=stage, tags=tags)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
        self.run_id = run.info.run_id
        histories = {name: client.get_metric_history(self.run_id, name) for name in run.data.metrics}
        self._last = {name: max(metric.step for metric in history) for name, history in histories.items()}

    def send(self, messages: Sequence[dict[str, Any]]) -> None:
        """What comes after the ``sent`` first ones."""
        self._send_values(messages[self.sent :])
        for message in messages[self.sent :]:
            self._send_files(message)
            self.sent += 1

    def _experiment(self, uri: str) -> str:
        """The id of the experiment, made at the first run. Its artifacts lie where MLFLOW_DEFAULT_ARTIFACT_ROOT says,
        else beside a local database, else in the project; a server has a place of its own."""
        from mlflow.exceptions import MlflowException

        if self._client.get_experiment_by_name(EXPERIMENT) is None:
            folder = database.parent if (database := local_database(uri)) else os.environ.get("DVC_ROOT", "")
            local = str(Path(folder, ARTIFACTS).absolute())
            root = None if uri.startswith("http") else os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT") or local
            with suppress(MlflowException):  # another run makes it at the same time
                self._client.create_experiment(EXPERIMENT, root)
        return self._client.get_experiment_by_name(EXPERIMENT).experiment_id

    def _cut_off(self, experiment: str, identity: str | None) -> Any:
        """The newest run of the same identity, unless it came to its end."""
        query, newest = f"tags.identity = '{identity}'", ["attributes.start_time DESC"]
        runs = self._client.search_runs([experiment], query, max_results=1, order_by=newest)
        return runs[0] if runs and runs[0].info.status != "FINISHED" else None

    def _send_values(self, messages: Sequence[dict[str, Any]]) -> None:
        """In as many requests as MLflow takes. A resumed training repeats steps: their first value stays."""
        from mlflow.entities import Metric, Param, RunTag

        params, tags, metrics, last = [], [], [], dict(self._last)
        for message in messages:
            params += [Param(name, without_credentials(value)) for name, value in message.get("params", {}).items()]
            tags += [RunTag(name, without_credentials(value)) for name, value in message.get("tags", {}).items()]
            for metric, value, timestamp, step in message.get("metrics", []):
                name = FORBIDDEN.sub("_", metric)
                if step > last.get(name, -1):
                    metrics.append(Metric(name, value, timestamp, step))
                    last[name] = step
        self._client.log_batch(self.run_id, metrics, params, tags)
        self._last = last

    def _send_files(self, message: dict[str, Any]) -> None:
        if path := message.get("artifact"):
            self._client.log_artifact(self.run_id, path)
        if folders := message.get("model"):
            log_model(self.run_id, [Path(folder) for folder in folders])
        if status := message.get("close"):
            self._client.set_terminated(self.run_id, status)
