"""The section ``calibrate``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from velocity.config.section import section


@section
class Calibration:
    """Stage 3: where the activation ranges of the INT8 model come from."""

    ranges: Literal["trained", "minmax", "percentile", "entropy"]
    utterances: Annotated[int, Field(ge=1, le=1000)]
    percentile: Annotated[float, Field(gt=50, le=100)]
