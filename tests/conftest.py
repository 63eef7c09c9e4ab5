"""The environment of every test: no tracking, no telemetry, two threads."""

import os

import flows  # noqa: F401  (sets the defaults of the pipeline's environment)
from velocity.stages import keep_memory

os.environ["VELOCITY_TRACKING"] = "off"
os.environ.setdefault("OMP_NUM_THREADS", "2")
keep_memory()
