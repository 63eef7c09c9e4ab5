"""The MLflow registry of released models: which versions there are, and which one is the champion."""

from velocity.registry.champions import NAME, Champions, Registry, told_in_one_line
from velocity.registry.registration import register

__all__ = ["NAME", "Champions", "Registry", "register", "told_in_one_line"]
