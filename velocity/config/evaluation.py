"""The sections ``evaluate`` and ``benchmark``."""

from __future__ import annotations

from velocity.config.section import Count, CountOrZero, Positive, section


@section
class Evaluation:
    bootstrap: Count  # resamples for the 95 % interval
    worst: CountOrZero  # utterances listed in the error report


@section
class Benchmarking:
    repeats: Count
    lengths: tuple[Positive, ...]  # seconds
