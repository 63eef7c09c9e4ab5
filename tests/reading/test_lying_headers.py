"""Lengths in headers that are too small, zero or endless: every sample is read, also of the recordings that follow."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.reading.files import RATE, encoded, flac_total, ogg_of_flac, patched
from velocity.audio import load_audio
from velocity.errors import VelocityError, VelocityWarning
from velocity.reading import containers
from velocity.reading.recording import read_header

SECONDS = 0.2
INFO = b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf60.3.100\0\0"  # what FFmpeg writes behind the samples
TAG = b"TAG" + bytes(125)  # ID3v1


class Length(NamedTuple):
    """Where a format has the length of its audio."""

    form: str
    endian: str
    before: bytes
    offset: int  # bytes after the beginning of ``before``
    width: int
    order: str


LENGTHS = {
    "WAV": Length("WAV", "FILE", b"data", 4, 4, "little"),
    "RIFX": Length("WAV", "BIG", b"data", 4, 4, "big"),
    "RF64": Length("RF64", "FILE", b"ds64", 16, 8, "little"),
    "W64": Length("W64", "FILE", b"data", 16, 8, "little"),
    "AIFF": Length("AIFF", "FILE", b"SSND", 4, 4, "big"),
    "CAF": Length("CAF", "FILE", b"data", 4, 8, "big"),
    "AU": Length("AU", "FILE", b".snd", 8, 4, "big"),
    "AU of little endian": Length("AU", "LITTLE", b"dns.", 8, 4, "little"),
}
OUTER = {"WAV": 4, "RIFX": 4, "AIFF": 4, "W64": 16, "RF64": 20}  # where the length of the whole is


def written(name: str, seed: int = 0) -> bytes:
    length = LENGTHS[name]
    return encoded(length.form, SECONDS, seed, "PCM_16", endian=length.endian)


def lying(name: str, share: float, outer: bytes | None = None) -> bytes:
    """The file, with a share of its length in its header; -1: none, as from a pipe."""
    data, length = written(name), LENGTHS[name]
    place = data.index(length.before) + length.offset
    true = int.from_bytes(data[place : place + length.width], length.order)
    told = b"\xff" * length.width if share < 0 else round(true * share).to_bytes(length.width, length.order)
    return patched(data, (place, told), *([(OUTER[name], outer)] if outer else []))


def quietly(data: bytes, *stretch: float) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_audio(data, *stretch)


@pytest.mark.parametrize("share", [0, 0.4, -1])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_that_is_wrong(name: str, share: float) -> None:
    first, second = load_audio(written(name)), load_audio(written(name, 1))
    for outer in (None, bytes(4)) if name in OUTER else (None,):
        data = lying(name, share, outer)
        np.testing.assert_array_equal(quietly(data), first)
        np.testing.assert_array_equal(quietly(data, 0.15, 0.02), first[2400:2720])
        np.testing.assert_array_equal(quietly(data, 0.05), first[800:])
        np.testing.assert_array_equal(quietly(data + written(name, 1)), np.append(first, second))


@pytest.mark.parametrize("name", LENGTHS)
def test_recordings_one_after_the_other(name: str) -> None:
    data = [written(name, seed) for seed in (0, 1, 2)]
    expected = np.concatenate(list(map(load_audio, data)))
    np.testing.assert_array_equal(quietly(b"".join(data)), expected)
    np.testing.assert_array_equal(quietly(TAG.join(data) + TAG), expected)


@pytest.mark.parametrize("second", ["WAV", "AU", "FLAC", "OGG", "MP3"])
def test_different_formats_one_after_the_other(second: str) -> None:
    behind = encoded(second, SECONDS, 1)
    for first in ("WAV", "AIFF", "AU", "OGG", "MP3"):
        data = encoded(first, SECONDS)
        if first != second:
            expected = np.append(load_audio(data), load_audio(behind))
            found = quietly(data + behind)
            assert abs(len(found) - len(expected)) < (2_000 if second == "MP3" else 1)  # the delay of its decoder
            np.testing.assert_allclose(found[: len(expected) // 2], expected[: len(expected) // 2], atol=1e-4)


def test_what_follows_the_samples_is_no_sound() -> None:
    wav, w64 = written("WAV"), written("W64")
    levels = b"levl" + w64[w64.index(b"data") + 4 :][:12] + (24 + 8_000).to_bytes(8, "little") + b"\x07" * 8_000
    for name, data in (("WAV", wav + INFO), ("WAV", patched(wav, (4, bytes(4))) + INFO), ("W64", w64 + levels)):
        expected = load_audio(written(name))
        np.testing.assert_array_equal(quietly(data), expected)
        np.testing.assert_array_equal(quietly(data + data), np.append(expected, expected))


def test_a_file_that_is_cut_off_behind_the_samples_says_so() -> None:
    with pytest.warns(VelocityWarning, match="does not end as its format does"):
        found = load_audio(written("WAV") + INFO[:-10])
    np.testing.assert_array_equal(found, load_audio(written("WAV")))


def test_more_than_a_length_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe can give a WAV more than 4 GB."""
    monkeypatch.setattr(containers, "LONGEST", 5_000)
    np.testing.assert_array_equal(quietly(lying("WAV", -1)), load_audio(written("WAV")))
    with pytest.raises(VelocityError, match="longer than the 4 GB"):
        load_audio(lying("AIFF", -1))


def test_a_walk_over_empty_chunks_ends() -> None:
    """A million of them took ten seconds; libsndfile gives up much earlier."""
    data = written("WAV")
    data = data[:12] + b"JUNK\0\0\0\0" * 11_000 + data[12:]
    assert containers.parts(io.BytesIO(data)) == []
    with pytest.raises(VelocityError, match="cannot be read as audio"):
        load_audio(data)


@pytest.mark.parametrize("total", [0, 1, 1_000])
def test_a_stretch_of_a_flac_is_not_ended_by_its_header(total: int) -> None:
    data = encoded("FLAC", SECONDS)
    expected = load_audio(data)
    for start, seconds in ((0.0, 0.1), (0.05, 0.1), (0.15, 0.02), (0.15, None), (0.15, 1.0)):
        end = None if seconds is None else round((start + seconds) * RATE)
        found = load_audio(flac_total(data, total), start, seconds)
        np.testing.assert_array_equal(found, expected[round(start * RATE) : end])
    with pytest.raises(VelocityError, match="holds no audio samples"):
        load_audio(data, 1.0)


def test_a_flac_that_claims_too_much_is_refused() -> None:
    data = flac_total(encoded("FLAC", SECONDS), 16_000)
    for flac in (data, ogg_of_flac(data), data + encoded("FLAC", SECONDS)):
        with pytest.raises(VelocityError, match=r"cut off after 0\.2 s of 1\.0 s"):
            load_audio(flac)


@pytest.mark.parametrize("behind", [TAG, bytes(4_096), encoded("WAV", SECONDS)])
def test_what_follows_a_flac_is_left_out_with_a_note(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(encoded("FLAC", SECONDS) + behind)
    with pytest.warns(VelocityWarning, match="does not end as its format does"):
        found = load_audio(path)
    np.testing.assert_array_equal(found, load_audio(encoded("FLAC", SECONDS)))
    np.testing.assert_array_equal(load_audio(path, 0.1), found[1_600:])
    assert read_header(path).frames == len(found)


def test_a_flac_that_is_cut_off_beyond_what_it_claims_is_refused() -> None:
    data = flac_total(encoded("FLAC", 1.0), 1_000)
    with pytest.raises(VelocityError, match="cannot be read as audio"):
        load_audio(data[: len(data) // 2])
