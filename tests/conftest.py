"""The environment of every test: no tracking, no telemetry, two threads, the same drawn examples every time."""

import os

from hypothesis import HealthCheck, settings

import flows  # noqa: F401  (sets the defaults of the pipeline's environment)
from velocity.stages import keep_memory

os.environ["VELOCITY_TRACKING"] = "off"
os.environ.setdefault("OMP_NUM_THREADS", "2")
keep_memory()

# A test that fails must fail for everybody: examples follow from the test alone, and a busy machine is no failure.
# New examples: pytest --hypothesis-profile default
busy = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("reproducible", derandomize=True, **busy)
settings.load_profile("reproducible")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
