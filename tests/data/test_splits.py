"""Splits: disjoint, stable when speakers come or go, of the share asked for; windows of unlabelled recordings."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

from velocity.data.splits import load_cuts, save_cuts, split_corpus, split_speakers, window_recordings
from velocity.errors import VelocityError

MANY = {f"speaker{index}" for index in range(3000)}
# With 300 speakers none of these shares leaves a split empty, which is an error of its own.
NAMES = st.sets(st.text(alphabet="abc019-", min_size=1, max_size=6), max_size=30).map(lambda some: some | set(ENOUGH))
ENOUGH = sorted(MANY)[:300]
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5])


@given(NAMES, NAMES, SHARES, SHARES, st.integers(0, 9))
def test_adding_speakers_moves_nobody(some, more, test, validation, seed):
    before = split_speakers("mine", some, test, validation, seed)
    after = split_speakers("mine", some | more, test, validation, seed)
    assert before.keys() == some
    assert after.keys() == some | more
    assert all(after[speaker] == split for speaker, split in before.items())


@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 99))
def test_shares_are_kept_and_a_larger_test_share_only_adds(test, validation, seed):
    splits = split_speakers("mine", MANY, test, validation, seed)
    counts = {split: list(splits.values()).count(split) / len(MANY) for split in ("test", "validation")}
    assert counts["test"] == pytest.approx(test, abs=0.05)
    assert counts["validation"] == pytest.approx(validation, abs=0.05)
    larger = split_speakers("mine", MANY, test + 0.1, validation, seed)
    assert all(larger[speaker] == "test" for speaker, split in splits.items() if split == "test")


def test_seed_and_corpus_draw_other_speakers():
    draws = [split_speakers(corpus, MANY, 0.2, 0.1, seed) for corpus, seed in (("a", 1), ("a", 2), ("b", 1))]
    assert draws[0] != draws[1]
    assert draws[0] != draws[2]


@given(NAMES, SHARES)
def test_an_expression_takes_exactly_its_speakers(names, validation):
    splits = split_speakers("mine", names, "[05]$", validation, 1)
    assert {name for name, split in splits.items() if split == "test"} == {n for n in names if re.search("[05]$", n)}


@pytest.mark.parametrize(
    ("speakers", "test", "validation", "named"),
    [
        ({"one"}, 1.0, 0.1, r"corpus mine: its validation split is empty \(1 speakers\); change corpora\.mine\.valid"),
        ({"one", "two"}, "three", 0.0, r"its test split is empty \(2 speakers\); change corpora\.mine\.test \(0: no"),
        ({"one"}, "(", 0.0, r"corpora\.mine\.test: '\(' is not a regular expression"),
        ({"one"}, 0.0, 1.5, r"corpora\.mine\.validation: a share of the speakers is from 0 to 1, not 1\.5"),
    ],
)
def test_a_split_that_cannot_be_is_named(speakers, test, validation, named):
    with pytest.raises(VelocityError, match=named):
        split_speakers("mine", speakers, test, validation, 1)


def recording_of(name, seconds, channels=1):
    source = AudioSource("file", list(range(channels)), f"audio/{name}.wav")
    return Recording(f"mine/{name}", [source], 16_000, round(seconds * 16_000), seconds)


def test_cuts_of_a_corpus_share_no_speaker_and_come_back_from_disk(tmp_path):
    recordings = [recording_of(f"{speaker}-{n}", 2.5, channels=2) for speaker in "abcdefgh" for n in range(3)]
    segments = [
        SupervisionSegment(r.id, r.id, 0.0, r.duration, text=f"Number {i}!", speaker=r.id[5], custom={"corpus": "mine"})
        for i, r in enumerate(recordings)
    ]
    segments[4].text = "...?!"
    splits = split_corpus(
        RecordingSet.from_recordings(recordings), SupervisionSet.from_segments(segments), "mine", "[ab]", "c", 1
    )
    speakers = {split: {cut.supervisions[0].speaker for cut in cuts} for split, cuts in splits.items()}
    assert speakers == {"test": set("ab"), "validation": {"c"}, "train": set("defgh")}
    assert [cut.id for cut in splits["test"]] == [f"mine/{u}" for u in ("a-0", "a-1", "a-2", "b-0", "b-2")]
    assert splits["test"][3].supervisions[0].text == "number three"
    save_cuts(splits["train"], tmp_path / "train.jsonl")
    assert list(load_cuts(tmp_path / "train.jsonl")) == splits["train"]


@given(st.integers(8_000, 200 * 16_000))
def test_windows_cover_a_recording_in_order_and_none_is_long(samples):
    (recording,) = recordings = [recording_of("long", samples / 16_000)]
    windows = window_recordings(RecordingSet.from_recordings(recordings))
    assert max(window.duration for window in windows) <= 20.0
    assert len({window.id for window in windows}) == len(windows)
    ends = [0.0] + [window.start + window.duration for window in windows]
    assert all(window.start == pytest.approx(end, abs=1e-6) for window, end in zip(windows, ends, strict=False))
    assert recording.duration - ends[-1] < 1e-2
    assert ends[-1] <= recording.duration + 1e-6


def test_a_missing_or_broken_manifest_is_named(tmp_path):
    with pytest.raises(VelocityError, match=r"none\.jsonl: no such file"):
        load_cuts(tmp_path / "none.jsonl")
    (tmp_path / "half.jsonl").write_text('{"id": "a", "sta')
    with pytest.raises(VelocityError, match=r"half\.jsonl line 1: not JSON"):
        load_cuts(tmp_path / "half.jsonl")
