"""VELOCITY-ASR: a small English speech recogniser, and the pipeline that trains it.

The names below load on first use, so that ``import velocity`` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# On import, onnxruntime starts to collect telemetry in the user's files. Set the variable to 0 to allow it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "VelocityASR": "velocity.recognition.offline",
    "StreamingASR": "velocity.recognition.streaming",
    "load_audio": "velocity.audio",
    "compute_mel_spectrogram": "velocity.audio",
}
__all__ = ["StreamingASR", "VelocityASR", "__version__", "compute_mel_spectrogram", "load_audio"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("velocity-asr")
        except PackageNotFoundError:  # a checkout that was never installed
            return _checkout_version()
    raise AttributeError(f"module 'velocity' has no attribute {name!r}")


def _checkout_version() -> str:
    import tomllib
    from pathlib import Path

    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        return "0+unknown"
    return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


def __dir__() -> list[str]:
    return sorted(__all__)
