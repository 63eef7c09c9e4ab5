"""Damaged files of every kind give audio or one line, never anything else."""

from __future__ import annotations

import importlib.util
import io
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading.files import FFMPEG, RATE, encoded, made, noise, ogg_of_flac, wav_of_mp3, without_xing
from velocity.audio import load_audio
from velocity.errors import VelocityError
from velocity.reading.chunks import LAYOUTS, Layout
from velocity.reading.containers import parts
from velocity.reading.recording import read_header
from velocity.reading.spans import Spans

SECONDS = 0.1
MOST = 60 * RATE  # samples: no decoder makes more of a few kilobytes

PCM = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "VOC", "NIST", "FLAC")
CODECS = (("WAV", "IMA_ADPCM"), ("AIFF", "IMA_ADPCM"), ("CAF", "ALAC_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"))
KINDS: list[Callable[[], bytes]] = [
    *(partial(encoded, form, SECONDS, 0, "PCM_16") for form in PCM),
    *(partial(encoded, form, SECONDS, 0, codec) for form, codec in CODECS),
    partial(encoded, "WAV", SECONDS, endian="BIG"),
    partial(encoded, "AU", SECONDS, endian="LITTLE"),
    partial(encoded, "MP3", SECONDS),
    lambda: wav_of_mp3(without_xing(encoded("MP3", SECONDS))),
    lambda: ogg_of_flac(encoded("FLAC", SECONDS)),
    *((partial(made, suffix, noise(SECONDS)) for suffix in FFMPEG) if importlib.util.find_spec("av") else ()),
]


@cache
def original(kind: int) -> bytes:
    return KINDS[kind]()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """One or two files, bytes of which are others, mostly of the headers; and cut, or not."""
    data = bytearray(original(draw(st.integers(0, len(KINDS) - 1))))
    if draw(st.booleans()):
        data += original(draw(st.integers(0, len(KINDS) - 1)))
    places = st.integers(0, min(120, len(data)) - 1) | st.integers(0, len(data) - 1)
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        data[place] = value
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@settings(max_examples=70)
@given(damaged())
def test_damage_gives_audio_or_a_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    message = f"{path}: read"
    for read in (load_audio, partial(load_audio, start=0.03, seconds=0.02), read_header):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                found = read(path)
                assert not isinstance(found, np.ndarray) or 0 < len(found) <= MOST
            except VelocityError as error:
                message = str(error)
        assert message.startswith(f"{path}: ")
        assert message.isprintable()


@st.composite
def chunked(draw: st.DrawFn, layout: Layout) -> bytes:
    """A file made of chunks whose lengths are true, or anything."""
    data = (layout.magic.ljust(8, b"\0") + layout.kinds[0]).ljust(layout.header, b"\0")[: layout.header]
    names = draw(st.lists(st.sampled_from([b"fmt ", b"ds64", b"LIST", layout.audio]), max_size=4))
    for name in (layout.kinds[0], *names) if layout.header == 8 else names:  # in CAF the first chunk tells the kind
        body = draw(st.binary(max_size=30))
        width = struct.calcsize(layout.length)
        length = draw(st.just(len(body) + layout.included) | st.sampled_from([0, 20, 1 << 30, 1 << 62, (1 << 64) - 1]))
        length = (length & (1 << 8 * width) - 1).to_bytes(width, "big" if layout.length[0] == ">" else "little")
        data += name + b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"[: layout.id - 4] + length + body
    return data


OTHERS = [b"fLaC\0\0\0\x22", b"OggS\0\2", b"\xff\xfb\x90\0", b"ID3\4\0\0\0\0\0\5", b"TAG"]
AU = [b".snd\0\0\0\x18\0\0\0\4\0\0\0\1", b"dns.\x18\0\0\0\xff\xff\xff\xff\1\0\0\0"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=[str(layout.magic[:4]) for layout in LAYOUTS])
@settings(max_examples=30)
@given(data=st.data())
def test_parts_follow_each_other_within_the_file(layout: Layout, data: st.DataObject) -> None:
    """Whatever its structure claims. ValueError is how a part is refused."""
    behind = chunked(layout) | st.sampled_from(OTHERS + AU) | st.binary(max_size=30)
    file = data.draw(chunked(layout)) + data.draw(behind)
    file = data.draw(st.sampled_from([file, AU[0] + file, OTHERS[-1] + file, file + file]))
    found = []
    with suppress(ValueError):
        found = parts(io.BytesIO(file))
    assert all(0 <= part.start <= part.end <= len(file) and part.missing >= 0 for part in found)
    assert all(one.end <= other.start or one.end == other.end for one, other in pairwise(found))


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=9) | st.tuples(*[st.integers(0, 20)] * 2).map(sorted).map(tuple), max_size=6), st.data()
)
def test_spans_are_a_file_of_their_pieces(pieces: list, data: st.DataObject) -> None:
    source = bytes(range(20))
    joined = io.BytesIO(b"".join(piece if isinstance(piece, bytes) else source[slice(*piece)] for piece in pieces))
    spans = Spans(io.BytesIO(source), pieces)
    for whence, offset, count in data.draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30)), max_size=8)
    ):
        assert spans.seek(offset, whence) == joined.seek(offset, whence)
        assert spans.read(count) == joined.read(count)
        assert spans.tell() == joined.tell()
