"""The sections ``validate`` and ``prepare``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from velocity.config.section import section

Severity = Literal["refuse", "drop", "warn"]

# What ``validate`` looks for, and what it does about it unless ``validate.severity`` says otherwise: a delivery that is
# broken is refused, an utterance that is of no use for training is dropped, what may be meant so is told.
SEVERITIES: dict[str, Severity] = {
    "unreadable-audio": "refuse",  # the first six are found while the corpus is fetched
    "transcript-without-audio": "refuse",
    "audio-without-transcript": "refuse",
    "duplicate-id": "refuse",
    "malformed-transcript": "refuse",
    "unknown-speaker": "refuse",
    "truncated-audio": "refuse",
    "sample-rate": "refuse",
    "channels": "refuse",
    "not-a-number": "refuse",
    "silence": "drop",
    "clipping": "drop",
    "dc-offset": "drop",
    "too-short": "drop",
    "duplicate-audio": "drop",
    "id-in-two-corpora": "warn",
    "too-long": "drop",
    "outside-recording": "refuse",
    "foreign-letters": "drop",
    "empty-text": "drop",
    "pace": "drop",
    "ctc-infeasible": "drop",
    "speaker-in-two-splits": "drop",
    "sentence-in-two-splits": "warn",
}


@section
class Drift:
    """How far a corpus may be from the version that was accepted last (``velocity-asr accept``)."""

    severity: Literal["refuse", "warn"] = "warn"
    max_psi: float = 0.25  # population stability index: 0.1 to 0.25 is a shift, above it a large one (Siddiqi 2006)
    max_vocabulary_divergence: float = 0.1  # bits, Jensen–Shannon, between the frequencies of words
    max_new_words: float = 0.05  # share of the running words that the accepted version did not have, beyond its own
    max_new_speakers: float = 1.0  # share of the speakers


@section
class Validation:
    """The limits of each check, what is done about what breaks them, and how much may be lost."""

    severity: dict[str, Severity] = field(default_factory=dict)  # of checks that differ from SEVERITIES
    max_dropped: float = 0.05  # share of a corpus; if more would be dropped, it is refused
    min_rate: int = 8000  # Hz
    max_rate: int = 192_000
    max_channels: int = 2
    min_seconds: float = 0.2
    max_seconds: float = 40.0  # of an utterance with text; others are cut into windows
    max_clipped: float = 0.01  # share of samples at full scale
    min_level_db: float = -60.0  # RMS relative to full scale: below is silence
    max_dc_offset: float = 0.05  # mean of the samples
    min_characters_per_second: float = 1.0
    max_characters_per_second: float = 35.0
    drift: Drift = field(default_factory=Drift)

    def __post_init__(self) -> None:
        if unknown := sorted(self.severity.keys() - SEVERITIES.keys()):
            raise ValueError(f"severity: no check is called {unknown[0]!r}; there are {', '.join(SEVERITIES)}")

    def severity_of(self, check: str) -> Severity:
        return self.severity.get(check, SEVERITIES[check])


@section
class Tokenizer:
    kind: Literal["characters", "bpe"] = "characters"
    vocabulary: int = 256  # pieces of a BPE tokenizer; characters are counted from the text


@section
class Sharding:
    """Lhotse Shar shards of the training set, for many hours on a shared store."""

    url: str = ""  # a folder or any other URL fsspec knows, such as s3://bucket/folder; "": no shards
    shard_size: Annotated[int, Field(ge=1)] = 1000  # utterances
    audio: Literal["flac", "opus"] = "flac"
    cache_gb: Annotated[float, Field(ge=0)] = 20.0  # of copies, when the store is not a local folder


@section
class Preparation:
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    shards: Sharding = field(default_factory=Sharding)
