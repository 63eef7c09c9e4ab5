"""The section ``gate``: how much worse than the champion a candidate may be, and how large."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from velocity.config.section import section


@section
class Gate:
    wer_tolerance: Annotated[float, Field(ge=0)]  # points of WER on a test set
    wer_detectable: Annotated[float, Field(gt=0)]  # points that a test set must be large enough to rule out
    bootstrap: Annotated[int, Field(ge=100)]  # resamples
    rtf_tolerance: Annotated[float, Field(ge=1)]  # times the champion's processor time
    rounds: Annotated[int, Field(ge=7)]  # in which champion and candidate take turns
    max_megabytes: Annotated[float, Field(gt=0)]  # model.onnx
    max_rss_megabytes: Annotated[float, Field(gt=0)]  # peak of a process that transcribes 10 s of audio

    def __post_init__(self) -> None:
        if self.wer_detectable <= self.wer_tolerance:
            raise ValueError("wer_detectable must be more than wer_tolerance: what is tolerated need not be ruled out")
