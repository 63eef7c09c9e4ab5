"""The sections ``validate`` and ``prepare``."""

from __future__ import annotations

from typing import Literal

from velocity.config.section import Count, NotNegative, Positive, Share, section

Severity = Literal["refuse", "drop", "warn"]


@section
class Drift:
    """How far a corpus may be from the version that was accepted last (``velocity-asr accept``)."""

    severity: Literal["refuse", "warn"]
    max_psi: NotNegative  # population stability index: 0.1 to 0.25 is a shift, above it a large one (Siddiqi 2006)
    max_vocabulary_divergence: NotNegative  # bits, Jensen–Shannon, between the frequencies of words
    max_new_words: NotNegative  # share of the running words that the accepted version did not have, beyond its own
    max_new_speakers: NotNegative  # share of the speakers


@section
class Validation:
    """The limits of each check, what is done about what breaks them, and how much may be lost."""

    severity: dict[str, Severity]  # of checks, by name, in place of that in velocity.data.checks
    max_dropped: Share  # share of a corpus; if more would be dropped, it is refused
    min_rate: Count  # Hz
    max_rate: Count
    max_channels: Count
    min_seconds: NotNegative
    max_seconds: Positive  # of an utterance with text; others are cut into windows
    max_clipped: Share  # share of samples at full scale
    min_level_db: float  # RMS relative to full scale: below is silence
    max_dc_offset: NotNegative  # mean of the samples
    min_characters_per_second: NotNegative
    max_characters_per_second: Positive
    drift: Drift


@section
class Tokenizer:
    kind: Literal["characters", "bpe"]
    vocabulary: Count  # pieces of a BPE tokenizer; characters are counted from the text


@section
class Sharding:
    """Lhotse Shar shards of the training set, for many hours on a shared store."""

    url: str  # a folder or any other URL fsspec knows, such as s3://bucket/folder; "": no shards
    shard_size: Count  # utterances
    audio: Literal["flac", "opus"]
    cache_gb: NotNegative  # of copies, when the store is not a local folder


@section
class Preparation:
    tokenizer: Tokenizer
    shards: Sharding
