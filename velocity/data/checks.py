"""What ``validate`` looks for: each check is the range that a column of a table must lie in, for a row to pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from velocity.config import Params
from velocity.config.data import Severity, Validation
from velocity.data.splits import OTHER_SPLIT, SPLITS, UNUSED_PART, Splits
from velocity.errors import VelocityError

if TYPE_CHECKING:
    import pandas

    from velocity.data.tables import Measurements

FETCHED = {  # kind of a fault → what would be right
    "unreadable-audio": "audio files can be opened and hold audio",
    "transcript-without-audio": "every transcript has its audio",
    "audio-without-transcript": "every audio file has its transcript",
    "duplicate-id": "an id is there once",
    "malformed-transcript": "lines of a transcript are 'ID TEXT'",
    "unknown-speaker": "the name or the folder of a file says who speaks (SPEAKER-… or SPEAKER/CHAPTER/)",
}
MAX_MISSING_SECONDS = 0.1  # of what the header promises: MP3 and Ogg headers are a little off
OTHER, UNUSED = -1, -2  # in place of a split: the speaker is kept for another one; a part that nothing uses
MAX_OUTSIDE_SECONDS = 0.02  # two feature frames of rounding


@dataclass(frozen=True)
class Check:
    """Rows of ``table`` whose ``column`` is outside ``low`` to ``high`` fail; None is no limit, NaN always passes."""

    name: str
    severity: Severity  # of a corpus that is broken: refuse; of an utterance of no use for training: drop
    table: str
    column: str
    low: float | None
    high: float | None
    sentence: str  # true of what passes


def checks(params: Params) -> list[Check]:
    """In the order in which they are reported, with the severities that ``validate.severity`` overrides.

    Raises VelocityError for a severity of a check that there is not.
    """
    limits, found = params.validate, _checks(params.validate)
    names = dict.fromkeys(check.name for check in found)
    if unknown := sorted(limits.severity.keys() - names):
        raise VelocityError(
            f"params.yaml: validate.severity: no check is called {unknown[0]!r}; there are {', '.join(names)}"
        )
    return [replace(check, severity=limits.severity.get(check.name, check.severity)) for check in found]


def _checks(limits: Validation) -> list[Check]:
    offset, missing = limits.max_dc_offset, MAX_MISSING_SECONDS
    slow, fast = limits.min_characters_per_second, limits.max_characters_per_second
    return [
        *(Check(kind, "refuse", "faults", kind, None, 0, text) for kind, text in FETCHED.items()),
        Check("duplicate-id", "refuse", "audio", "repeated_id", None, 0, "ids are unique"),
        Check(
            "truncated-audio",
            "refuse",
            "audio",
            "missing_seconds",
            -missing,
            missing,
            "audio decodes to its promised end",
        ),
        Check(
            "sample-rate",
            "refuse",
            "audio",
            "rate",
            limits.min_rate,
            limits.max_rate,
            "the sample rate is that of speech",
        ),
        Check("channels", "refuse", "audio", "channels", 1, limits.max_channels, "there are not too many channels"),
        Check("not-a-number", "refuse", "audio", "not_numbers", None, 0, "samples are numbers (no NaN, no Inf)"),
        Check("silence", "drop", "audio", "level_db", limits.min_level_db, None, "audio is not silent"),
        Check("clipping", "drop", "audio", "clipped", None, limits.max_clipped, "audio is not clipped"),
        Check("dc-offset", "drop", "audio", "dc_offset", -offset, offset, "audio has no DC offset"),
        Check("too-short", "drop", "audio", "promised_seconds", limits.min_seconds, None, "audio is long enough"),
        Check("duplicate-audio", "drop", "audio", "copied", None, 0, "no recording is there twice, or with two texts"),
        Check(
            "id-in-two-corpora",
            "warn",
            "audio",
            "id_elsewhere",
            None,
            0,
            "no other corpus has an utterance of this name",
        ),
        Check("too-long", "drop", "utterances", "seconds", None, limits.max_seconds, "utterances are short enough"),
        Check(
            "outside-recording",
            "refuse",
            "utterances",
            "outside_seconds",
            None,
            MAX_OUTSIDE_SECONDS,
            "text is in its audio",
        ),
        Check(
            "foreign-letters",
            "drop",
            "utterances",
            "foreign_letters",
            None,
            0,
            "text has no letters outside the alphabet",
        ),
        Check("empty-text", "drop", "utterances", "characters", 1, None, "text is not empty once normalised"),
        Check("pace", "drop", "utterances", "characters_per_second", slow, fast, "the pace is natural"),
        Check("ctc-infeasible", "drop", "utterances", "spare_frames", 0, None, "there are frames enough for CTC"),
        Check(
            "speaker-in-two-splits",
            "drop",
            "utterances",
            "speaker_elsewhere",
            None,
            0,
            "a speaker is in one split",
        ),
        Check(
            "sentence-in-two-splits",
            "warn",
            "utterances",
            "sentence_elsewhere",
            None,
            0,
            "a sentence is in one split alone",
        ),
    ]


def add_comparisons(measured: Measurements, params: Params) -> None:
    """Add the columns that compare rows with each other, or with the model, to the tables.

    ``faults``: a column a kind. ``audio``: ``promised_seconds``, ``copied``, ``id_elsewhere``.
    ``utterances``: ``spare_frames``, ``speaker_elsewhere``, ``sentence_elsewhere``.
    """
    audio, utterances, faults = measured.audio, measured.utterances, measured.faults
    for kind in FETCHED:
        faults[kind] = (faults["kind"] == kind).astype(np.int8)
    audio["promised_seconds"] = audio["seconds"] + audio["missing_seconds"]
    audio["copied"] = copied(audio, utterances)
    audio["id_elsewhere"] = id_elsewhere(audio) if len(measured.rows) > 1 else np.int8(0)
    labels = "character_labels" if params.prepare.tokenizer.kind == "characters" else "word_labels"
    frames = -(-utterances["feature_frames"] // params.model.stride)  # what the convolutions leave
    utterances["spare_frames"] = frames - utterances[labels]
    splits = np.array(voice_splits(measured, params), np.int8)[utterances["voice"]]
    utterances["speaker_elsewhere"] = (splits == OTHER).astype(np.int8)
    utterances["sentence_elsewhere"] = heard_elsewhere(utterances["sentence"].to_numpy(), splits)


def copied(audio: pandas.DataFrame, utterances: pandas.DataFrame) -> np.ndarray:
    """1 for a recording whose samples an earlier one has, int8; for all of them when their texts differ.

    A recording with text goes before one without.
    """
    result = np.zeros(len(audio), np.int8)
    rows = np.flatnonzero((audio["content"].duplicated(keep=False) & (audio["seconds"] > 0)).to_numpy())
    if len(rows):
        first = utterances[["recording", "sentence"]].drop_duplicates("recording").set_index("recording")["sentence"]
        group = audio[["content"]].iloc[rows].reset_index(drop=True)
        group["sentence"] = first.reindex(rows).astype("Int64").to_numpy(dtype=object, na_value=None)
        group["row"] = rows
        disagree = group.groupby("content")["sentence"].transform("nunique") > 1
        ordered = group.iloc[group["sentence"].isna().argsort(kind="stable")]
        later = ordered["content"].duplicated().reindex(group.index)
        result[rows] = disagree | later
    return result


def id_elsewhere(audio: pandas.DataFrame) -> np.ndarray:
    """1 for an utterance whose id, without the corpus, an earlier corpus has, int8."""
    bare = audio["id"].str.replace("^[^/]*/", "", regex=True)  # stays an Arrow array, as str.partition would not
    return bare.duplicated().to_numpy(np.int8) * (1 - audio["repeated_id"].to_numpy())


def voice_splits(measured: Measurements, params: Params) -> list[int]:
    """Where ``prepare`` will put the utterances of each of ``measured.voices``: place in SPLITS, OTHER or UNUSED."""
    speakers: dict[str, dict[str, set[str]]] = {}
    for corpus, speaker, part in measured.voices:
        speakers.setdefault(corpus, {}).setdefault(speaker, set()).add(part)
    splits = Splits({name: params.corpora[name] for name in speakers}, speakers, params.seed)
    left_out = {OTHER_SPLIT: OTHER, UNUSED_PART: UNUSED}
    names = [splits.of(*voice) for voice in measured.voices]
    return [left_out[name] if name in left_out else SPLITS.index(name.partition("-")[0]) for name in names]


def heard_elsewhere(sentences: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """1 for what is trained on, or validated with, and also kept for a later purpose; all (utterances,), int8."""
    result = np.zeros(len(sentences), np.int8)
    for place in range(len(SPLITS) - 1):
        earlier = splits == place
        result[earlier] = np.isin(sentences[earlier], sentences[splits > place])
    return result
