"""Requests of this project to its own servers (Prefect, MLflow, the demo) go past the proxies of the environment."""

from __future__ import annotations

import os

HOSTS = ("localhost", "127.0.0.1", "::1")


def bypass_proxies() -> None:
    """Add this machine to ``no_proxy`` and ``NO_PROXY``, after what the user has there, if the environment has a proxy.

    Libraries differ in which of the two they read, and child processes inherit both. To be called before clients of
    HTTP are made: some read the variables once. Without a proxy in the environment nothing is set: on macOS and
    Windows the variables would replace the settings of the system.
    """
    names = {name.lower() for name, value in os.environ.items() if value}
    if not any(name.endswith("_proxy") for name in names - {"no_proxy"}):
        return
    lower, upper = os.environ.get("no_proxy", ""), os.environ.get("NO_PROXY", "")
    for name, value in (("no_proxy", lower or upper), ("NO_PROXY", upper or lower)):
        entries = [entry.strip() for entry in value.split(",") if entry.strip()]
        if "*" not in entries:
            os.environ[name] = ",".join([*entries, *(host for host in HOSTS if host not in entries)])
