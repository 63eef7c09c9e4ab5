"""Cuts: streamed as they would be made in memory, training shuffled on disk, windows of unlabelled recordings."""

import json
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

import velocity.data.sorting
from velocity.corpora.kinds.folder import FolderCorpus
from velocity.data.cuts import place_cuts, window_recording, write_splits
from velocity.data.manifests import load_cuts, read_cuts, save_manifests
from velocity.data.splits import Splits
from velocity.text import normalize

CORPORA = {
    "mine": FolderCorpus(kind="folder", source="speech", test="^[ab]", validation="^c"),
    "plain": FolderCorpus(kind="folder", source="unlabelled", labelled=False),
}
SEED = 5


def recording_of(corpus, name, seconds, channels=1):
    source = AudioSource("file", list(range(channels)), f"audio/{name}.wav")
    return Recording(f"{corpus}/{name}", [source], 16_000, round(seconds * 16_000), seconds)


def segment_of(recording, speaker, text, **changes):
    segment = SupervisionSegment(
        recording.id, recording.id, 0.0, recording.duration, text=text, speaker=speaker, custom={"corpus": "mine"}
    )
    for key, value in changes.items():
        setattr(segment, key, value)
    return segment


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """60 utterances of 12 speakers, one of them without words; ten long recordings without text."""
    folder = tmp_path_factory.mktemp("manifests")
    recordings = [recording_of("mine", f"{s}-{n}", 2.0 + n / 8, channels=2) for s in "abcdefghijkl" for n in range(5)]
    segments = [segment_of(r, r.id[5], f"Number {index}!") for index, r in enumerate(recordings)]
    segments[3].text = "...?!"
    save_manifests([*reversed(segments), *reversed(recordings)], folder / "mine")
    save_manifests([recording_of("plain", f"long-{n}", 30.0 + n) for n in range(10)], folder / "plain")
    return folder


def prepare(manifests, folder, excluded=(), alignable=lambda text, frames: True):
    folder.mkdir(exist_ok=True)
    splits = Splits.read(CORPORA, manifests, SEED)
    placed = [
        pair
        for name, corpus in CORPORA.items()
        for pair in place_cuts(name, corpus, manifests / name, splits, set(excluded), alignable)
    ]
    summary = write_splits(iter(placed), SEED, folder)
    return [(place, MonoCut.from_dict(deepcopy(cut))) for place, cut in placed], summary


def test_files_hold_what_memory_would(manifests, tmp_path, monkeypatch):
    """With sorted runs of 7 lines; the reference sorts everything in memory."""
    monkeypatch.setattr(velocity.data.sorting.Sorter.__init__, "__defaults__", (7,))
    placed, summary = prepare(manifests, tmp_path)
    order = lambda cut: sha256(f"{SEED}/{cut.id}".encode()).hexdigest()  # noqa: E731
    train = sorted((cut for place, cut in placed if place == "train"), key=order)
    windows = [cut for place, cut in placed if place == "pretrain"]
    assert list(read_cuts(tmp_path / "train.jsonl")) == list(load_cuts(tmp_path / "train.jsonl")) == train
    assert list(read_cuts(tmp_path / "pretrain.jsonl")) == sorted(train + windows, key=order)
    assert len(windows) == 20
    for name, corpus in (("train", "mine"), ("pretrain", "plain")):  # lines are what Lhotse writes
        lines = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines() if corpus in line]
        assert lines == [cut.to_dict() for cut in read_cuts(tmp_path / f"{name}.jsonl") if cut.id.startswith(corpus)]
    assert {cut.supervisions[0].speaker for cut in train} == set("defghijkl")
    tested = list(read_cuts(tmp_path / "test-mine.jsonl"))
    assert [cut.id for cut in tested] == [f"mine/{s}-{n}" for s in "ab" for n in range(5) if (s, n) != ("a", 3)]
    assert tested[2].supervisions[0].text == "number two"
    assert summary["left_out"] == {"mine": {"no-words": 1}}
    assert summary["splits"]["train"] == {
        "utterances": 45,
        "hours": round(sum(cut.duration for cut in train) / 3600, 4),
        "speakers": 9,
        "words": sum(len(cut.supervisions[0].text.split()) for cut in train),
    }
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.jsonl" for name in ("train", "pretrain", "validation", "test-mine")
    }


def test_speech_for_pretraining_alone_is_not_fine_tuned_on(manifests, tmp_path, monkeypatch):
    whole, _ = prepare(manifests, tmp_path / "both")
    monkeypatch.setitem(CORPORA, "mine", replace(CORPORA["mine"], pretrain_only=True))
    placed, summary = prepare(manifests, tmp_path / "alone")
    assert (tmp_path / "alone/train.jsonl").read_text() == ""
    for name in ("pretrain", "validation", "test-mine"):
        assert (tmp_path / f"alone/{name}.jsonl").read_text() == (tmp_path / f"both/{name}.jsonl").read_text()
    assert {cut.id for place, cut in placed if place == "pretrain" and cut.supervisions} == {
        cut.id for place, cut in whole if place == "train"
    }
    assert summary["splits"]["train"]["utterances"] == 0
    assert summary["splits"]["pretrain"]["utterances"] == 45 + 20


def test_added_cuts_do_not_reorder_the_others(manifests, tmp_path):
    prepare(manifests, tmp_path / "all")
    prepare(manifests, tmp_path / "fewer", excluded={f"mine/{s}-2" for s in "defghijkl"})
    everything = [cut.id for cut in read_cuts(tmp_path / "all/train.jsonl")]
    fewer = [cut.id for cut in read_cuts(tmp_path / "fewer/train.jsonl")]
    assert len(fewer) == 36
    assert [cut_id for cut_id in everything if cut_id in set(fewer)] == fewer
    assert everything != sorted(everything)


def test_what_is_left_out_is_counted_and_tests_stay_hard(manifests, tmp_path):
    excluded = {"mine/a-0", "mine/k-1", "plain/long-3"}
    short = lambda text, frames: frames > 213  # noqa: E731  2 and 2.125 s of 2, 2.125, 2.25, …
    placed, summary = prepare(manifests, tmp_path, excluded, short)
    assert summary["left_out"] == {
        "mine": {"excluded-by-validation": 2, "no-words": 1, "too-short-for-its-text": 19},
        "plain": {"excluded-by-validation": 2},
    }
    kept = {cut.id for name in ("train", "validation", "pretrain") for cut in read_cuts(tmp_path / f"{name}.jsonl")}
    assert not kept & excluded
    assert min(cut.duration for cut in read_cuts(tmp_path / "train.jsonl")) == 2.25
    assert "mine/b-0" in {cut.id for cut in read_cuts(tmp_path / "test-mine.jsonl")}
    assert sum(Counter(place for place, _ in placed).values()) == 60 + 20


def test_segments_of_a_recording_are_cut_from_it(tmp_path):
    (recording,) = recordings = [recording_of("mine", "talk", 60.0)]
    others = [recording_of("mine", name, 2.0) for name in ("a", "c")]
    segments = [
        segment_of(recording, "d", f"Part {n}", id=f"mine/talk-{n}", start=10.0 * n, duration=5.0) for n in range(3)
    ]
    segments += [segment_of(other, other.id[-1], "some words") for other in others]
    save_manifests([*recordings, *others, *segments], tmp_path / "mine")
    splits = Splits.read({"mine": CORPORA["mine"]}, tmp_path, SEED)
    placed = place_cuts("mine", CORPORA["mine"], tmp_path / "mine", splits, set(), lambda *_: True)
    cuts = [MonoCut.from_dict(deepcopy(cut)) for _, cut in placed]
    assert [(cut.id[5:], cut.start, cut.duration) for cut in cuts] == [
        ("a", 0.0, 2.0), ("c", 0.0, 2.0), ("talk-0", 0.0, 5.0), ("talk-1", 10.0, 5.0), ("talk-2", 20.0, 5.0)
    ]  # fmt: skip
    assert [cut.supervisions[0].start for cut in cuts] == [0.0] * 5
    assert [cut.supervisions[0].text for cut in cuts[2:]] == [normalize(f"part {n}") for n in range(3)]


@given(st.integers(8_000, 200 * 16_000))
def test_windows_cover_a_recording_in_order_and_none_is_long(samples):
    recording = recording_of("mine", "long", samples / 16_000)
    windows = [MonoCut.from_dict(deepcopy(window)) for window in window_recording(recording.to_dict())]
    assert max(window.duration for window in windows) <= 20.0
    assert len({window.id for window in windows}) == len(windows)
    ends = [0.0] + [window.start + window.duration for window in windows]
    assert all(window.start == pytest.approx(end, abs=1e-6) for window, end in zip(windows, ends, strict=False))
    assert recording.duration - ends[-1] < 1e-2
    assert ends[-1] <= recording.duration + 1e-6
