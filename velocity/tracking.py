"""A record of every training and evaluation in MLflow: parameters, metrics, artifacts, and what they were made from.

MLflow takes seconds to import and may talk to a server that is slow or gone, so it lives in a process of its own: the
stage writes what it has to say into a pipe and goes on; the recorder reads it and outlives the stage just long enough
to close the run, as failed if the stage was killed. A recorder that cannot record costs one line of warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

EXPERIMENT = "velocity-asr"
STORE = "sqlite:///mlflow.db"  # unless MLFLOW_TRACKING_URI names another
ARTIFACTS = "mlartifacts"  # beside it
PATIENCE = 60.0  # seconds a finished stage waits for its recorder
BATCH = 100  # entries a request: MLflow's limit for parameters and tags

# Silent, and soon aware of a server that does not answer; the user's own settings come first.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class Run:
    """What a stage says about itself while it runs; ``None`` as the recorder: nothing is kept."""

    def __init__(self, recorder: subprocess.Popen[str] | None = None) -> None:
        self._recorder = recorder
        self._step = 0

    def log(self, row: Mapping[str, float]) -> None:
        """Record the metrics of ``row`` at its ``step``, while the training runs: a line into a pipe, a few µs."""
        self._step, now = int(row["step"]), _now()
        self._send(metrics=[[name, float(value), now, self._step] for name, value in row.items() if name != "step"])

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Record the numbers in ``values`` as of the last step that was logged.

        They may be nested: {"onnx": {"wer": 0.1}} is the metric ``onnx.wer``.
        """
        numbers = [(name, value) for name, value in flatten(values) if isinstance(value, int | float)]
        self._send(metrics=[[name, float(value), _now(), self._step] for name, value in numbers])

    def series(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Record the rows of a training curve that were not logged while it ran."""
        for row in rows:
            self.log(row)

    def artifact(self, path: str | Path) -> None:
        """Keep a copy of a file or folder that stays as it is until the stage ends."""
        self._send(artifact=str(path))

    def tags(self, values: Mapping[str, str]) -> None:
        self._send(tags=dict(values))

    def _send(self, **message: Any) -> None:
        if self._recorder is not None:
            with suppress(BrokenPipeError):  # the recorder gave up: said once, when the stage ends
                print(json.dumps(message), file=self._recorder.stdin, flush=True)


@contextmanager
def track_run(stage: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Record the block as an MLflow run named after ``stage``, finished or failed as the block is.

    The run is tagged with the git commit, the hashes that dvc.lock holds for the stage's inputs and, once it is done,
    those of the files it wrote. VELOCITY_TRACKING=off records nothing.
    """
    if os.environ.get("VELOCITY_TRACKING") == "off":
        yield Run()
        return
    if find_spec("mlflow") is None:
        print("note: MLflow is not installed, so this run is not recorded", file=sys.stderr)
        yield Run()
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8") as complaints:
        recorder = subprocess.Popen(
            [sys.executable, "-m", "velocity.tracking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            text=True,
            env=ENVIRONMENT | os.environ,
            start_new_session=True,  # an interrupt stops the stage, not the record of it
        )
        run = Run(recorder)
        run._send(stage=stage, tags=git_tags() | input_tags(stage), params=dict(flatten(params, lists=False)))
        try:
            yield run
            run.tags(output_tags(stage))
            run._send(status="FINISHED")
        except BaseException:
            run._send(status="FAILED")
            raise
        finally:
            _close(recorder, complaints)


def _close(recorder: subprocess.Popen[str], complaints: Any) -> None:
    with suppress(BrokenPipeError):
        recorder.stdin.close()
    try:
        failed = recorder.wait(timeout=PATIENCE) != 0
    except subprocess.TimeoutExpired:
        recorder.kill()
        recorder.wait()
        failed = True
    if failed:
        complaints.seek(0)
        lines = complaints.read().strip().splitlines() or [f"no answer in {PATIENCE:.0f} s"]
        print(f"warning: MLflow did not record this run: {lines[-1][:300]}", file=sys.stderr)


def flatten(value: Any, name: str = "", lists: bool = True) -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} → ("a.b", 1); lists count their items, or are kept whole with ``lists=False``."""
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif lists and isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, item in items:
        yield from flatten(item, f"{name}.{key}" if name else str(key), lists)


def _now() -> int:
    return int(time.time() * 1000)


def git_tags() -> dict[str, str]:
    """The commit, and whether code or parameters differ from it; what the pipeline itself writes does not count."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return {"mlflow.source.git.commit": git("rev-parse", "HEAD"), "git.dirty": str(bool(changed)).lower()}
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git here, or no commit yet


def input_tags(stage: str) -> dict[str, str]:
    """DVC's hashes of what the stage reads, as the stages before it left them in dvc.lock: {"input/PATH": hash}."""
    locked = _read_yaml("dvc.lock").get("stages", {})
    hashes = {
        out["path"]: out["md5"]
        for name, entry in locked.items()
        if name != stage
        for out in entry.get("outs", [])
        if "md5" in out
    }
    wanted = [Path(path) for path in _declared(stage, "deps")]
    return {
        f"input/{path}": hashes[path]
        for path in sorted(hashes)
        if any(Path(path) == dep or dep in Path(path).parents for dep in wanted)
    }


def output_tags(stage: str) -> dict[str, str]:
    """The hashes DVC will give to the files that the stage has written: {"output/PATH": MD5}."""
    tags = {}
    for path in _declared(stage, "outs") + _declared(stage, "metrics"):
        if Path(path).is_file():
            with open(path, "rb") as file:
                tags[f"output/{path}"] = hashlib.file_digest(file, "md5").hexdigest()
    return tags


def _declared(stage: str, kind: str) -> list[str]:
    """The paths that dvc.yaml lists for a stage under ``kind``, written as a string or as {path: options}."""
    entries = _read_yaml("dvc.yaml").get("stages", {}).get(stage, {}).get(kind, [])
    return [next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries]


def _read_yaml(path: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    if not Path(path).exists():
        return {}
    return YAML(typ="safe").load(Path(path)) or {}


def record() -> None:
    """The recorder: what the stage writes, from standard input to MLflow."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()

    def read() -> None:  # at once, so that a full pipe never holds up the stage while MLflow is being imported
        for line in sys.stdin:
            messages.put(json.loads(line))
        messages.put(None)

    Thread(target=read, daemon=True).start()

    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    uri = os.environ.get("MLFLOW_TRACKING_URI", STORE)
    client = MlflowClient(uri)
    first = messages.get()
    if first is None:
        return
    run_id = client.create_run(_experiment(client, uri == STORE), run_name=first["stage"]).info.run_id
    params = [Param(name, str(value)) for name, value in first["params"].items()]
    tags = [RunTag("stage", first["stage"]), *(RunTag(name, value) for name, value in first["tags"].items())]
    for start in range(0, max(len(params), len(tags)), BATCH):
        client.log_batch(run_id, params=params[start : start + BATCH], tags=tags[start : start + BATCH])

    status, open_ = "KILLED", True
    while open_:
        waiting = [messages.get()]
        with suppress(Empty):
            while True:
                waiting.append(messages.get_nowait())
        metrics = [Metric(*entry) for message in waiting if message for entry in message.get("metrics", [])]
        for start in range(0, len(metrics), 10 * BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + 10 * BATCH])
        for message in waiting:
            if message is None:
                open_ = False
                continue
            if "artifact" in message:
                log = client.log_artifacts if Path(message["artifact"]).is_dir() else client.log_artifact
                log(run_id, message["artifact"])
            for name, value in message.get("tags", {}).items():
                client.set_tag(run_id, name, value)
            status = message.get("status", status)
    client.set_terminated(run_id, status)


def _experiment(client: Any, local: bool) -> str:
    """The id of the experiment, made at the first run. A server keeps the artifacts where it was told to."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(EXPERIMENT):
        return found.experiment_id
    try:
        return client.create_experiment(EXPERIMENT, artifact_location=ARTIFACTS if local else None)
    except MlflowException:  # another run made it in the meantime
        return client.get_experiment_by_name(EXPERIMENT).experiment_id


if __name__ == "__main__":
    record()
