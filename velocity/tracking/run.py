"""What a stage says about itself while it runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from velocity.tracking.connection import Connection
from velocity.tracking.origins import identity, origin_tags, output_tags


class Run:
    """One run; ``None`` as the recorder: nothing is kept. No call waits for MLflow."""

    def __init__(self, recorder: Connection | None = None) -> None:
        self._recorder = recorder
        self._step = 0

    def log(self, row: Mapping[str, float]) -> None:
        """Record the metrics of ``row`` at its ``step``, and draw them while the training runs.

        The first value of a metric at a step stays: a resumed training may repeat the rows after its checkpoint.
        """
        self._step, now = int(row["step"]), _now()
        self._send(curves=[[name, float(value), now, self._step] for name, value in row.items() if name != "step"])

    def metrics(self, values: Mapping[str, Any]) -> None:
        """Record the numbers in ``values`` as of the last step that was logged.

        They may be nested: {"onnx": {"wer": 0.1}} is the metric ``onnx.wer``.
        """
        numbers = [(name, value) for name, value in flatten(values) if isinstance(value, int | float)]
        self._send(metrics=[[name, float(value), _now(), self._step] for name, value in numbers])

    def artifact(self, path: str | Path) -> None:
        """Keep a copy of a file or folder that stays as it is until the stage ends."""
        self._send(artifact=str(path))

    def model(self, *folders: str | Path) -> None:
        """Keep exported models (``onnx``, ``onnx-int8``) as one MLflow model, which ``mlflow models serve`` serves."""
        self._send(model=[str(folder) for folder in folders])

    def tags(self, values: Mapping[str, str]) -> None:
        self._send(tags=dict(values))

    def _send(self, **message: Any) -> None:
        if self._recorder is not None:
            self._recorder.send(message)


@contextmanager
def track_run(stage: str, params: Mapping[str, Any]) -> Iterator[Run]:
    """Record the block as an MLflow run named after ``stage``, finished or failed as the block is.

    The run is tagged with the git commit, the hashes that dvc.lock holds for the stage's inputs and, once it is done,
    those of the files it wrote. A run of the same stage, parameters and inputs that was killed or failed is gone on
    with. VELOCITY_TRACKING=off records nothing.
    """
    if os.environ.get("VELOCITY_TRACKING") == "off":
        yield Run()
        return
    if find_spec("mlflow") is None:
        print("note: MLflow is not installed, so this run is not recorded", file=sys.stderr)
        yield Run()
        return
    recorder = Connection()
    run = Run(recorder)
    named = {name: str(value) for name, value in flatten(params, lists=False)}
    run._send(stage=stage, params=named, identity=identity(stage, named), tags=origin_tags(stage))
    try:
        yield run
        run.tags(output_tags(stage))
        run._send(status="FINISHED")
    except BaseException:
        run._send(status="FAILED")
        raise
    finally:
        if not recorder.close():
            print(
                "warning: MLflow did not record all of this run: its recorder did not come to an end", file=sys.stderr
            )


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
