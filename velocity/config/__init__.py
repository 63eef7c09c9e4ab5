"""The sections of ``params.yaml`` as frozen dataclasses, one module a section. Values are in params.yaml alone.

The names below load on first use. A stage imports the sections it reads from their modules, so that no other section
is among its dependencies.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "Params": "velocity.config.params",
    "load_params": "velocity.config.params",
    "parse_params": "velocity.config.params",
    "PARAMS_FILE": "velocity.config.reader",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'velocity.config' has no attribute {name!r}")
