"""A record of every training and evaluation: parameters, metrics, artifacts, and what they were made from.

MLflow takes seconds to import and may talk to a server that is slow or gone, so it lives in a process of its own: the
stage writes what it has to say into a pipe and goes on (``run``); the recorder (``recorder``) reads it, hands it to
MLflow (``ledger``) and to DVCLive (``curves``), and outlives the stage just long enough to close the run, as killed if
the stage was.
"""

from velocity.tracking.run import Run, flatten, track_run, tracking_uri

__all__ = ["Run", "flatten", "track_run", "tracking_uri"]
