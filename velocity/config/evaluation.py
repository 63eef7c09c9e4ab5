"""The sections ``evaluate`` and ``benchmark``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from velocity.config.section import section


@section
class Evaluation:
    bootstrap: Annotated[int, Field(ge=1)]  # resamples for the 95 % interval
    worst: Annotated[int, Field(ge=0)]  # utterances listed in the error report


@section
class Benchmarking:
    repeats: Annotated[int, Field(ge=1)]
    lengths: tuple[float, ...]  # seconds
