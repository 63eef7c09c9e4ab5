"""What every section of ``params.yaml`` is: a frozen dataclass that knows its keys and checks their types."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

section = dataclass(frozen=True, config=ConfigDict(extra="forbid"))
