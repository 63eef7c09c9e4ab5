"""Files whose headers say little or the wrong thing, made by hand from good ones, and how long they really are."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000  # Hz
ENCODER, DECODER = 576, 529  # samples of delay of LAME and of every MP3 decoder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Loud at first and then silent, so that a variable bit rate falls: (samples,) float32 at 16 kHz."""
    samples = 0.5 * np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)
    samples[len(samples) // 4 :] *= 0.01
    return samples


@lru_cache
def encoded(
    form: str, seconds: float = 3.0, seed: int = 0, subtype: str | None = None, rate: int = RATE, endian: str = "FILE"
) -> bytes:
    """``noise`` in a format of soundfile; as a stereo file of another rate when ``rate`` is one."""
    samples = noise(seconds, seed)
    if rate != RATE:
        from velocity.audio import resample

        samples = np.stack([resample(samples, RATE, rate)] * 2, axis=1)
    file, options = io.BytesIO(), {"bitrate_mode": "VARIABLE", "compression_level": 0.4} if form == "MP3" else {}
    soundfile.write(file, samples, rate, format=form, subtype=subtype, endian=endian, **options)
    return file.getvalue()


FFMPEG = {  # suffix → FFmpeg's format and codec, rate, and the seconds that codecs add at most
    ".m4a": ("ipod", "aac", 44_100, 0.1),
    ".aac": ("adts", "aac", RATE, 0.15),
    ".webm": ("webm", "libopus", 48_000, 0.02),
    ".mka": ("matroska", "flac", RATE, 0.02),
    ".wma": ("asf", "wmav2", 44_100, 0.15),
}


def made(suffix: str, samples: np.ndarray) -> bytes:
    """(samples,) at 16 kHz, encoded by FFmpeg."""
    av = pytest.importorskip("av")
    form, codec, rate, _ = FFMPEG[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        size = 0 if codec in ("flac",) else stream.codec_context.frame_size
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, size or 4096)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux([packet for packet in stream.encode(None) if packet.size])
    return file.getvalue()


def patched(data: bytes, *values: tuple[int, bytes]) -> bytes:
    changed = bytearray(data)
    for place, value in values:
        changed[place : place + len(value)] = value
    return bytes(changed)


def length(data: bytes, chunk: bytes, value: int, form: str = "<I") -> bytes:
    """``data`` with another length for the chunk."""
    return patched(data, (data.index(chunk) + len(chunk), struct.pack(form, value)))


def without_xing(data: bytes) -> bytes:
    """An MP3 without the frame that says how many frames there are: what an encoder writes to a pipe."""
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    return data[data.index(b"\xff\xf3", 4) :]


def frames_of(mp3: bytes) -> int:
    """The number that its information frame states."""
    place = mp3.index(b"Xing" if b"Xing" in mp3[:200] else b"Info")
    return int.from_bytes(mp3[place + 8 : place + 12], "big")


def id3(size: int) -> bytes:
    """A tag with a picture, or what is taken for one: bytes that look like frames."""
    return b"ID3\4\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + b"\xff\xfb\x90\x00" * (size // 4)


def wav_of_mp3(mp3: bytes, promised: int | None = None) -> bytes:
    """MP3 frames as the data of a WAV: format 0x55, its twelve bytes more."""
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 4000, 1, 0, 12, 1, 2, 288, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", promised or len(mp3)) + mp3
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def lying_wav(outer: int, inner: int) -> bytes:
    """A WAV with other lengths of the whole and of its samples."""
    return length(patched(encoded("WAV"), (4, struct.pack("<I", outer))), b"data", inner)


def flac_total(data: bytes, total: int) -> bytes:
    return patched(data, (21, bytes([data[21] & 0xF0 | total >> 32])), (22, struct.pack(">I", total & 0xFFFFFFFF)))


@lru_cache
def ogg_of_flac(flac: bytes) -> bytes:
    """The FLAC mapping of Ogg: its first block alone on the first page, the others, then the frames."""
    place, blocks = 4, []
    while True:
        size = 4 + int.from_bytes(flac[place + 1 : place + 4], "big")
        blocks.append(flac[place : place + size])
        place += size
        if blocks[-1][0] & 0x80:
            break
    packets = [b"\x7fFLAC\1\0" + struct.pack(">H", len(blocks) - 1) + b"fLaC" + blocks[0], *blocks[1:], flac[place:]]
    pages: list[bytes] = []
    for packet in packets:
        pieces = [packet[at : at + 200 * 255] for at in range(0, len(packet), 200 * 255)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            segments = [255] * (len(piece) // 255) + ([len(piece) % 255] if last else [])
            flags = (number > 0) | 2 * (not pages) | 4 * (last and packet is packets[-1])
            head = b"OggS\0" + bytes([flags]) + struct.pack("<qIII", 0, 7, len(pages), 0)
            pages.append(head + bytes([len(segments), *segments]) + piece)  # without check sums: nothing checks them
    return b"".join(pages)


@dataclass(frozen=True)
class Case:
    """A file; its length; and its samples at 16 kHz where they are known."""

    suffix: str
    data: Callable[[], bytes]
    seconds: Callable[[], float]
    samples: Callable[[], np.ndarray] | None = None


def pcm(seconds: float = 3.0, seeds: Sequence[int] = (0,)) -> np.ndarray:
    """What ``noise`` is after 16 bits."""
    return np.concatenate([np.rint(noise(seconds, seed) * 32768) / 32768 for seed in seeds]).astype(np.float32)


def whole(form: str, seeds: Sequence[int] = (0,)) -> np.ndarray:
    """What soundfile decodes of the good files."""
    return np.concatenate([soundfile.read(io.BytesIO(encoded(form, 3.0, seed)), dtype="float32")[0] for seed in seeds])


def _exact(suffix: str, data: Callable[[], bytes], seeds: Sequence[int] = (0,)) -> Case:
    return Case(suffix, data, lambda: 3.0 * len(seeds), lambda: pcm(seeds=seeds))


def _chained(suffix: str, form: str, subtype: str) -> Case:
    def read(seed: int) -> bytes:
        return encoded(form, 3.0, seed, subtype)

    def samples() -> np.ndarray:
        return np.concatenate([soundfile.read(io.BytesIO(read(seed)), dtype="float32")[0] for seed in (0, 1, 2)])

    return Case(suffix, lambda: b"".join(map(read, (0, 1, 2))), lambda: 9.0, samples)


CASES = {
    "MP3 of variable bit rate, no Xing": Case(
        ".mp3", lambda: without_xing(encoded("MP3")), lambda: frames_of(encoded("MP3")) * 576 / RATE
    ),
    "the same after a tag with a picture": Case(
        ".mp3", lambda: id3(40_000) + without_xing(encoded("MP3")), lambda: frames_of(encoded("MP3")) * 576 / RATE
    ),
    "three MP3s one after the other": Case(
        ".mp3",
        lambda: b"".join(encoded("MP3", 3.0, seed) for seed in (0, 1, 2)),
        # of the first, the delays are cut off; the information frames of the others are silent ones
        lambda: ((3 * frames_of(encoded("MP3")) + 2) * 576 - ENCODER - DECODER) / RATE,
    ),
    "the same with tags": Case(
        ".mp3",
        lambda: b"".join(id3(3_000) + encoded("MP3", 3.0, seed) + b"TAG" + bytes(125) for seed in (0, 1, 2)),
        lambda: ((3 * frames_of(encoded("MP3")) + 2) * 576 - ENCODER - DECODER) / RATE,
    ),
    "MP3s of two rates": Case(
        ".mp3",
        lambda: encoded("MP3") + encoded("MP3", 3.0, 1, None, 44_100),
        lambda: (
            (frames_of(encoded("MP3")) * 576 - ENCODER - DECODER) / RATE
            + (frames_of(encoded("MP3", 3.0, 1, None, 44_100)) * 1152 - ENCODER - DECODER) / 44_100
        ),
    ),
    "junk before an MP3": Case(
        ".mp3", lambda: b"\0" * 100 + without_xing(encoded("MP3")), lambda: frames_of(encoded("MP3")) * 576 / RATE
    ),
    "MP3 in WAV": Case(
        ".wav", lambda: wav_of_mp3(without_xing(encoded("MP3"))), lambda: frames_of(encoded("MP3")) * 576 / RATE
    ),
    "MP3 in WAV, no length": Case(
        ".wav",
        lambda: wav_of_mp3(without_xing(encoded("MP3")), 0xFFFFFFFF),
        lambda: frames_of(encoded("MP3")) * 576 / RATE,
    ),
    "chained Vorbis": _chained(".ogg", "OGG", "VORBIS"),
    "chained Opus": _chained(".opus", "OGG", "OPUS"),
    "chained Vorbis of two rates": Case(
        ".ogg", lambda: encoded("OGG") + encoded("OGG", 3.0, 1, None, 44_100), lambda: 6.0
    ),
    "FLAC in Ogg": _exact(".oga", lambda: ogg_of_flac(encoded("FLAC"))),
    "FLAC in Ogg, no length": _exact(".oga", lambda: ogg_of_flac(flac_total(encoded("FLAC"), 0))),
    "FLACs one after the other": _exact(".flac", lambda: encoded("FLAC") + encoded("FLAC", 3.0, 1), (0, 1)),
    "FLAC that claims a tenth": _exact(".flac", lambda: flac_total(encoded("FLAC"), 4_800)),
    "FLAC after a tag": _exact(".flac", lambda: id3(2_000) + encoded("FLAC")),
    "WAVs one after the other": _exact(".wav", lambda: encoded("WAV") + encoded("WAV", 3.0, 1), (0, 1)),
    "AU without a length": _exact(".au", lambda: patched(encoded("AU"), (8, bytes(4)))),
    "AU of 2 GB": _exact(".au", lambda: patched(encoded("AU"), (8, b"\x7f\xff\xff\xff"))),
    "CAF from a pipe": _exact(".caf", lambda: length(encoded("CAF"), b"data", -1, ">q")),
    "CAF without a length": _exact(".caf", lambda: length(encoded("CAF"), b"data", 0, ">q")),
    "RF64 without a length": _exact(".rf64", lambda: patched(encoded("RF64"), (20, bytes(24)))),
    "RF64 from a pipe": _exact(".rf64", lambda: patched(encoded("RF64"), (20, b"\xff" * 24))),
    "W64 of 8 EB": _exact(
        ".w64", lambda: patched(encoded("W64"), (encoded("W64").index(b"data") + 16, b"\xff" * 7 + b"\x7f"))
    ),
} | {
    f"WAV, lengths {outer:x} and {inner:x}": _exact(".wav", lambda lengths=(outer, inner): lying_wav(*lengths))
    for outer, inner in (
        (0, 0),
        (36, 0),
        (2**32 - 1, 0),
        (2**32 - 1, 2**32 - 1),
        (0x7FFFF024, 0x7FFFF000),
        (0, 2**32 - 16),
    )
}


def write(folder: Path, name: str) -> Path:
    case = CASES[name]
    path = folder / f"case{case.suffix}"
    path.write_bytes(case.data())
    return path
