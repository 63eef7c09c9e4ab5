"""What every section of ``params.yaml`` is: a frozen dataclass that knows its keys and checks their types."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

section = dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


def _check_selection(selection: float | str | tuple[str, ...]) -> float | str | tuple[str, ...]:
    if isinstance(selection, str):
        try:
            re.compile(selection)
        except re.error as error:
            raise ValueError(f"{selection!r} is not a regular expression: {error}") from error
    elif isinstance(selection, float) and not 0 <= selection <= 1:
        raise ValueError(f"a share of the speakers is from 0 to 1, not {selection:g}")
    return selection


# How speakers are kept out of training: a share of them (drawn by a hash of the speaker's name, so that it stays the
# same when speakers are added), a regular expression searched for in the name, or a list of the corpus' official parts.
SpeakerSelection = Annotated[float | str | tuple[str, ...], AfterValidator(_check_selection)]
