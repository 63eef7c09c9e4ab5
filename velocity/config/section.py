"""What every section of ``params.yaml`` is: a frozen dataclass that knows its keys and checks their types."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

section = dataclass(frozen=True, config=ConfigDict(extra="forbid"))
Share = Annotated[float, Field(ge=0, le=1)]

# How speakers are kept out of training: a share of them (drawn by a hash of the speaker's name, so that it stays the
# same when speakers are added), a regular expression searched for in the name, or a list of the corpus' official parts.
SpeakerSelection = float | str | tuple[str, ...]
