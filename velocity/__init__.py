"""VELOCITY-ASR: a small English speech recogniser, and the pipeline that trains it.

The names below load on first use, so that ``import velocity`` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

# onnxruntime keeps records of its use for its maker, in files of the user's, as soon as it is imported. Who wants that
# sets the variable to 0.
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
        return _version()
    raise AttributeError(f"module 'velocity' has no attribute {name!r}")


def _version() -> str:
    """The version of the installed package, or that of the checkout when it is not installed."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("velocity-asr")
    except PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        return tomllib.loads(project.read_text())["project"]["version"] if project.exists() else "unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
