"""Orchestration only: no audio, no tensors. Importing it sets the environment that Prefect and every stage run in."""

from __future__ import annotations

import os
from pathlib import Path

from velocity.loopback import bypass_proxies

ROOT = Path(__file__).resolve().parent.parent

# Defaults, which the user's own settings override; there before Prefect is imported and before a stage's Python starts.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    # The history of runs stays with the project; connection profiles (`prefect profile`) remain the user's own.
    "PREFECT_HOME": str(ROOT / ".prefect"),
    "PREFECT_PROFILES_PATH": str(Path.home() / ".prefect" / "profiles.toml"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # The terminal belongs to the pipeline's own lines; the log of each run is in Prefect.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin at barriers stall a training beside any other work
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
    # glibc would give large blocks back to the kernel at every step of a training, which then waits for page faults.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
bypass_proxies()
