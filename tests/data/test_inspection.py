"""Measurements of audio and text against figures computed another way."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from velocity.data.inspection import measure_recording, measure_recordings, measure_transcripts
from velocity.text import normalize, train_tokenizer

RATE = 16_000


def measure(path, seconds, rate=RATE):
    source = {"type": "file", "channels": [0], "source": str(path)}
    line = {"id": "a/b", "sources": [source], "sampling_rate": rate, "duration": seconds, "channel_ids": [0]}
    return measure_recording(line)


def test_figures_of_a_known_signal(tmp_path):
    samples = 0.5 * np.sin(2 * np.pi * 100 * np.arange(5 * RATE) / RATE) + 0.05  # more than one block
    samples[:800] = 1.0
    soundfile.write(tmp_path / "a.wav", np.stack([samples, samples], axis=1), RATE, "FLOAT")
    row = measure(tmp_path / "a.wav", 5.0)
    assert (row["rate"], row["channels"], row["seconds"], row["not_numbers"]) == (RATE, 2, 5.0, 0)
    assert row["missing_seconds"] == 0.0
    assert row["clipped"] == pytest.approx(800 / len(samples))
    assert row["dc_offset"] == pytest.approx(samples.mean(), abs=1e-6)
    assert row["level_db"] == pytest.approx(10 * np.log10(np.mean(samples**2)), abs=1e-3)


def test_samples_that_are_no_numbers_spoil_no_other_figure(tmp_path):
    samples = np.full(RATE, 0.1)
    samples[[3, 5, 9]] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", samples, RATE, "FLOAT")
    row = measure(tmp_path / "a.wav", 1.0)
    assert row["not_numbers"] == 3
    assert row["clipped"] == 0.0
    assert row["level_db"] == pytest.approx(-20, abs=1e-2)


def test_the_same_samples_have_the_same_hash_in_every_lossless_format(tmp_path):
    samples = np.random.default_rng(1).integers(-9000, 9000, 70_000, dtype=np.int16)
    formats = {"a.wav": "PCM_16", "b.flac": "PCM_16", "c.aiff": "PCM_16", "d.flac": "PCM_24", "e.wav": "FLOAT"}
    for name, subtype in formats.items():
        data = samples / np.float32(32768) if subtype == "FLOAT" else samples
        soundfile.write(tmp_path / name, data, RATE, subtype)
    samples[-1] += 1
    soundfile.write(tmp_path / "other.wav", samples, RATE)
    hashes = {name: measure(tmp_path / name, 4.375)["content"] for name in [*formats, "other.wav"]}
    assert len({hashes[name] for name in formats}) == 1
    assert hashes["other.wav"] != hashes["a.wav"]


@pytest.mark.parametrize(("ending", "share"), [("wav", 0.5), ("aiff", 0.25), ("wav", 1.0)])
def test_what_a_header_promises_in_vain_is_missing(tmp_path, ending, share):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 4 * RATE), RATE)
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    row = measure(path, soundfile.info(path).duration)
    assert row["seconds"] + row["missing_seconds"] == pytest.approx(4.0, abs=0.01)
    assert row["missing_seconds"] == pytest.approx(4.0 * (1 - share), abs=0.01)


def test_a_stream_of_unknown_length_misses_nothing(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert measure(path, 1.0)["missing_seconds"] == 0.0


def test_a_file_that_is_gone_is_missing_and_has_no_level(tmp_path):
    row = measure(tmp_path / "gone.wav", 3.0)
    assert (row["seconds"], row["missing_seconds"], row["rate"]) == (0.0, 3.0, RATE)
    assert np.isnan(row["level_db"])


def test_threads_change_nothing(tmp_path):
    lines = []
    for index in range(6):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.random.default_rng(index).normal(0, 0.1, 9000), RATE)
        source = {"type": "file", "channels": [0], "source": str(path)}
        line = {"id": f"a/{index}", "sources": [source], "sampling_rate": RATE, "duration": 9000 / RATE}
        lines.append({**line, "channel_ids": [0]})
    assert measure_recordings(lines, 1) == measure_recordings(lines, 4)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = ["hello there", "that that is is", "noon moon balloon", "a bee"] * 5
    return [train_tokenizer(texts, kind, 60, folder / kind) for kind in ("characters", "bpe")]


@given(st.lists(st.sampled_from(["hello", "that", "is", "noon", "balloon", "a", "oo", "zebra's"]), max_size=12))
def test_labels_are_those_of_the_tokenizer_and_no_bpe_makes_fewer(tokenizers, words):
    segment = {"id": "a/b", "recording_id": "a/b", "start": 0.0, "duration": 1.0, "text": " ".join(words).upper()}
    (row,) = measure_transcripts([segment])
    characters, bpe = tokenizers
    assert row["text"] == normalize(segment["text"])
    assert row["character_labels"] == characters.ctc_frames(row["text"])
    assert row["word_labels"] <= bpe.ctc_frames(row["text"])
