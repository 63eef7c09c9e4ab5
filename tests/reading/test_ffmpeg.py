"""Formats that libsndfile does not know: read where PyAV is installed, and otherwise a line says what to install."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.reading.files import FFMPEG, RATE, encoded, made, noise
from velocity.audio import load_audio
from velocity.data.inspection import measure_recording
from velocity.errors import VelocityError, VelocityWarning
from velocity.reading.ffmpeg import format_of
from velocity.reading.recording import read_header


@pytest.mark.parametrize("suffix", FFMPEG)
def test_the_sound_is_that_of_before(tmp_path: Path, suffix: str) -> None:
    sound = noise(3.0)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(made(suffix, sound))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_audio(path)
    assert 3.0 - 0.03 <= len(found) / RATE <= 3.0 + FFMPEG[suffix][3]  # FFmpeg's WMA encoder loses 28 ms
    level = lambda samples: np.sqrt(np.square(samples[: 3 * RATE]).reshape(-1, RATE // 4).mean(axis=1))  # noqa: E731
    shift = len(found) - len(sound)  # delays are at the beginning, fillings at the end
    found_at = (np.pad(found, (0, 800))[at:] for at in range(0, max(1, shift), 160))
    assert min(np.abs(level(each) - level(sound)).max() for each in found_at) < 0.05
    header = read_header(path)
    assert header.frames / header.rate == pytest.approx(len(found) / RATE, abs=0.001)
    line = {"id": "a", "sources": [{"source": str(path)}], "sampling_rate": header.rate, "channel_ids": [0]}
    assert measure_recording({**line, "duration": header.frames / header.rate})["missing_seconds"] == pytest.approx(0)
    stretch = load_audio(path, 1.0, 0.5)
    np.testing.assert_allclose(stretch, load_audio(path, 1.0)[: len(stretch)], atol=1e-3)  # resampled up to its end
    assert len(stretch) == RATE // 2


def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    for suffix in (".webm", ".aac", ".mka"):
        data = made(suffix, noise(5.0))
        with pytest.warns(VelocityWarning, match="cut off"):
            assert 0.5 < len(load_audio(data[: round(0.6 * len(data))])) / RATE < 5
    data = made(".m4a", noise(3.0))
    with pytest.raises(VelocityError, match=r"audio in memory: cannot be read as audio \(MP4"):
        load_audio(data[: len(data) // 2])  # what tells its frames is at the end


def test_a_playlist_is_not_followed(tmp_path: Path) -> None:
    """FFmpeg itself would open what it names, also elsewhere on the disk or on another machine."""
    av = pytest.importorskip("av")
    (tmp_path / "secret.wav").write_bytes(encoded("WAV"))
    for name, text in {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        "a.ffconcat": "ffconcat version 1.0\nfile 'secret.wav'\n",
    }.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(VelocityError, match="Format not recognised"):
            load_audio(path)
        from velocity.reading.ffmpeg import FFmpegRecording

        with open(path, "rb") as file, pytest.raises(VelocityError, match="cannot be read"):
            FFmpegRecording(file, name, "MP4")  # taken for another format, it is still not followed
    assert av.open(str(tmp_path / "a.ffconcat"), options={"safe": "0"}).streams.audio  # the danger is real


HEADS = {
    ".m4a": b"\0\0\0\x1cftypM4A \0\0\2\0",
    ".webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81",
    ".aac": b"\xff\xf1\x60\x40\x1b\x7f\xfc",
    ".wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    ".amr": b"#!AMR\n\x3c",
}


@pytest.mark.parametrize("suffix", HEADS)
def test_without_pyav_a_line_says_what_to_install(tmp_path, monkeypatch, suffix: str) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(HEADS[suffix] + bytes(500))
    with pytest.raises(
        VelocityError, match=r"read by FFmpeg, which is not installed: pip install 'velocity-asr\[formats\]'"
    ) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_libsndfile_knows_never_goes_to_ffmpeg() -> None:
    for form, subtype in [("WAV", None), ("WAV", "IMA_ADPCM"), ("WAVEX", None), ("OGG", None), ("OGG", "OPUS")]:
        assert format_of(encoded(form, 3.0, 0, subtype)[:1024]) is None
    for form in ("FLAC", "MP3", "CAF", "AIFF", "AU", "W64", "RF64", "NIST", "VOC"):
        assert format_of(encoded(form)[:1024]) is None
