"""What a header leaves out or gets wrong is read all the same: by transcription, fetch, validate and evaluate alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import soundfile

from tests.command import run
from tests.reading.files import CASES, RATE, encoded, frames_of, ogg_of_flac, patched, pcm, whole, without_xing, write
from tests.tone_model import speak, write_model
from velocity.audio import claimed_seconds, load_audio
from velocity.corpora.kinds.folder import read_folder
from velocity.data.inspection import measure_recording
from velocity.data.sounds import find_sounds
from velocity.errors import VelocityError, VelocityWarning
from velocity.evaluation.testset import Utterance
from velocity.recognition.offline import VelocityASR
from velocity.server.failures import RequestError
from velocity.server.transcribe import transcribe_upload

NEAR = 0.02  # seconds


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_to_its_end(tmp_path: Path, name: str) -> None:
    case, path = CASES[name], write(tmp_path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing, and nothing is said to be
        samples = load_audio(path)
    assert len(samples) / RATE == pytest.approx(case.seconds(), abs=NEAR)
    if case.samples:
        assert len(samples) == len(case.samples())
        np.testing.assert_allclose(samples, case.samples(), atol=2e-4)


def test_an_mp3_without_its_information_frame_has_the_same_samples() -> None:
    """After the delay, which that frame would tell."""
    data = encoded("MP3")
    found, expected = load_audio(without_xing(data)), load_audio(data)
    np.testing.assert_allclose(found[576 + 529 :][: len(expected)], expected, atol=1e-6)


def test_each_of_several_mp3s_is_there() -> None:
    first, second = encoded("MP3", 3.0, 0), encoded("MP3", 3.0, 1)
    both = load_audio(first + second)
    place = frames_of(first) * 576 + 576  # its frames without the delays, then a silent one, then the same delays
    alone = load_audio(second)
    np.testing.assert_allclose(both[: 3 * RATE - 2000], load_audio(first)[: 3 * RATE - 2000], atol=1e-6)
    np.testing.assert_allclose(both[place:][2000 : 2 * RATE], alone[2000 : 2 * RATE], atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_every_reader_has_the_same_length(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "7" / "1"
    folder.mkdir(parents=True)
    path = write(folder, name).rename(folder / f"7-1-0000{CASES[name].suffix}")
    (folder / "7-1.trans.txt").write_text("7-1-0000 HELLO\n")
    recording, _ = read_folder("mine", tmp_path)
    length = len(load_audio(path)) / RATE
    assert recording.duration == pytest.approx(length, abs=NEAR / 2) or "claims" in name  # only decoding tells that one
    row = measure_recording(recording.to_dict())
    assert row["seconds"] == pytest.approx(length, abs=0.001)
    assert row["missing_seconds"] == pytest.approx(0, abs=NEAR / 2) or "claims" in name
    assert len(Utterance("u", path, "hello").samples()) == round(length * RATE)
    assert claimed_seconds(path) == pytest.approx(length, abs=NEAR / 2) or "claims" in name or "no length" in name
    (sound,) = find_sounds("noise", str(tmp_path))
    assert len(sound.read()) == pytest.approx(round(length * RATE), abs=1)


def test_validate_names_a_flac_that_claims_too_little(tmp_path: Path) -> None:
    path = write(tmp_path, "FLAC that claims a tenth")
    source = {"type": "file", "channels": [0], "source": str(path)}
    line = {"id": "a", "sources": [source], "sampling_rate": RATE, "duration": 0.3, "channel_ids": [0]}
    assert measure_recording(line)["missing_seconds"] == pytest.approx(-2.7)


@pytest.mark.parametrize("name", ["three MP3s one after the other", "chained Vorbis", "FLACs one after the other"])
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 0.5), (1.2, 0.7), (2.8, 0.5), (5.0, None)])
def test_a_stretch_is_that_stretch_of_the_whole(tmp_path, name, start, seconds) -> None:
    path = write(tmp_path, name)
    end = None if seconds is None else round((start + seconds) * RATE)
    np.testing.assert_array_equal(load_audio(path, start, seconds), load_audio(path)[round(start * RATE) : end])


def test_all_the_words_of_chained_files_are_transcribed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "onnx")
    for suffix in ("ogg", "flac", "mp3"):
        parts = []
        for number, text in enumerate(("hello", "world")):
            part = tmp_path / f"{number}.{suffix}"
            soundfile.write(part, np.append(speak(text, model), np.zeros(4_000, np.float32)), RATE)
            parts.append(part.read_bytes())
        (tmp_path / f"both.{suffix}").write_bytes(b"".join(parts))
        status, out, _ = run(capsys, "transcribe", tmp_path / f"both.{suffix}", "--model", model)
        assert (status, out.replace(" ", "")) == (0, "helloworld\n")


CUT = ["WAV", "AIFF", "AU", "W64", "CAF", "RF64"]


@pytest.mark.parametrize("form", CUT)
def test_what_is_there_of_a_cut_file_is_read_and_the_rest_is_named(tmp_path: Path, form: str) -> None:
    path, data = tmp_path / f"cut.{form.lower()}", encoded(form)
    path.write_bytes(data[: round(0.7 * len(data))])
    with pytest.warns(VelocityWarning, match=rf"{path.name}: cut off after 2\.1 s of 3\.0 s") as caught:
        samples = load_audio(path)
    assert len(caught) == 1
    assert len(samples) / RATE == pytest.approx(0.7 * 3, abs=0.1)
    np.testing.assert_allclose(samples, pcm()[: len(samples)], atol=4e-5)
    source = {"type": "file", "channels": [0], "source": str(path)}
    line = {"id": "a", "sources": [source], "sampling_rate": RATE, "duration": len(samples) / RATE, "channel_ids": [0]}
    assert measure_recording(line)["missing_seconds"] == pytest.approx(3 - len(samples) / RATE, abs=0.001)


def test_a_cut_mp3(tmp_path: Path) -> None:
    data = encoded("MP3")
    with pytest.warns(VelocityWarning, match=r"cut off after \d\.\d s of 3\.0 s"):
        found = load_audio(data[: len(data) // 2])
    np.testing.assert_allclose(found[:-1000], load_audio(data)[: len(found) - 1000], atol=1e-6)
    plain = without_xing(data)
    with pytest.warns(VelocityWarning, match="may be cut off"):
        load_audio(plain[: len(plain) // 2 + 1])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_cut_ogg_says_that_its_end_is_missing(subtype: str) -> None:
    data = encoded("OGG", 6.0, 0, subtype)
    with pytest.warns(VelocityWarning, match="may be cut off"):
        assert 0 < len(load_audio(data[: round(0.7 * len(data))])) < 6 * RATE


def test_a_cut_flac_is_refused_with_its_length() -> None:
    for data in (encoded("FLAC"), ogg_of_flac(encoded("FLAC"))):
        with pytest.raises(VelocityError, match=r"cut off .* 3\.0 s"):
            load_audio(data[: round(0.7 * len(data))])


def test_good_files_are_read_as_soundfile_reads_them() -> None:
    for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "W64", "CAF", "RF64"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(load_audio(encoded(form)), whole(form), atol=1e-6)


def test_a_length_of_zero_that_is_true(tmp_path: Path) -> None:
    """What follows the empty chunk is another chunk, and no sound."""
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), RATE)
    data = path.read_bytes() + b"LIST\4\0\0\0INFO"
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    with pytest.raises(VelocityError, match="holds no audio samples"):
        load_audio(path)


def test_damaged_headers_of_vorbis_are_refused_before_they_cost_memory() -> None:
    data = encoded("OGG")
    for place in (40, 100, 1000):  # in each of the three packets
        with pytest.raises(VelocityError, match="headers of its Vorbis stream"):
            load_audio(patched(data, (place, bytes([data[place] ^ 1]))))
        with pytest.raises(VelocityError, match="headers of its Vorbis stream"):
            load_audio(data[: place + 58])


def test_the_servers_limit_holds_for_a_header_that_claims_little(tmp_path: Path) -> None:
    model = VelocityASR(write_model(tmp_path / "onnx"))
    data = CASES["FLAC that claims a tenth"].data()
    assert transcribe_upload(model, io.BytesIO(data), 3.0, None, Event()).seconds == pytest.approx(3.0)
    with pytest.raises(RequestError, match="too long: at most 2 s") as caught:
        transcribe_upload(model, io.BytesIO(data), 2.0, None, Event())
    assert caught.value.status == 413
