"""Records that are found by where they lie: each module of a package is one, so a new one is a new file and no list.

``dvc.yaml`` sees them as well: the script that derives its dependencies reads the call of ``modules`` as an import of
the whole package.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType


def modules(package: str) -> list[ModuleType]:
    """Every module directly in ``package`` (its dotted name), imported, sorted by name."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return [import_module(f"{package}.{each.name}") for each in sorted(found, key=lambda each: each.name)]
