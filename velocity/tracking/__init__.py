"""A record of every training and evaluation: parameters, metrics, artifacts, and what they were made from.

MLflow takes seconds to import and may talk to a server that is slow or gone, so it lives in a process of its own: the
stage says what it has to (``run``) into a ``connection`` and goes on; the ``recorder`` reads it, hands it to MLflow
(``ledger``) and to DVCLive (``curves``), and outlives the stage just long enough to close the run, as killed if the
stage was. A pipeline has recorders ``at_hand``, which imported MLflow before.
"""

from velocity.tracking.connection import recorders_at_hand
from velocity.tracking.run import Run, flatten, track_run
from velocity.tracking.store import tracking_uri

__all__ = ["Run", "flatten", "recorders_at_hand", "track_run", "tracking_uri"]
