"""The MLflow registry of released models: which versions there are, and which one is the champion."""

from velocity.registry.champions import NAME, VERDICT, Champions, Registry, one_line_errors
from velocity.registry.registration import register, registered

__all__ = ["NAME", "VERDICT", "Champions", "Registry", "one_line_errors", "register", "registered"]
