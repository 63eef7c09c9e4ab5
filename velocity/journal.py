"""What a stage reports while it runs: JSON lines in the file that VELOCITY_JOURNAL names.

``velocity.run`` starts a stage with that variable and hands the lines to MLflow. Without it nothing is written. So a
stage knows nothing of tracking, and tracking may change without a new training.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from velocity.errors import without_credentials


class Journal:
    """Appends one JSON object a line to ``path``; ``None``: nothing is kept. A killed stage leaves whole lines."""

    def __init__(self, path: str | None) -> None:
        self._file = open(path, "a", encoding="utf-8", buffering=1) if path else None  # noqa: SIM115
        self._step = 0

    def params(self, values: Mapping[str, Any]) -> None:
        """The parameters of the run, nested as in params.yaml. To be reported first."""
        self._write(params={name: str(value) for name, value in flatten(values, lists=False)})

    def log(self, row: Mapping[str, float]) -> None:
        """The metrics of ``row`` at its ``step``. A resumed training may repeat rows: the first value stays."""
        self._step, now = int(row["step"]), _now()
        self._write(metrics=[[name, float(value), now, self._step] for name, value in row.items() if name != "step"])

    def metrics(self, values: Mapping[str, Any]) -> None:
        """The numbers in ``values`` as of the last step. Nested: {"onnx": {"wer": 0.1}} is the metric ``onnx.wer``."""
        numbers = [(name, value) for name, value in flatten(values) if isinstance(value, int | float)]
        self._write(metrics=[[name, float(value), _now(), self._step] for name, value in numbers])

    def artifact(self, path: str | Path) -> None:
        """A file or folder to keep a copy of."""
        self._write(artifact=str(path))

    def model(self, *folders: str | Path) -> None:
        """Exported models to keep as one MLflow model."""
        self._write(model=[str(folder) for folder in folders])

    def _write(self, **message: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(_redacted(message)) + "\n")


def open_journal() -> Journal:
    """The journal of this stage, as the environment says."""
    return Journal(os.environ.get("VELOCITY_JOURNAL"))


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


def _redacted(value: Any) -> Any:
    """Each text in ``value`` without passwords. Text by text: in the finished JSON, quotes would end too late."""
    if isinstance(value, Mapping):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return without_credentials(value) if isinstance(value, str) else value


def _now() -> int:
    return int(time.time() * 1000)
