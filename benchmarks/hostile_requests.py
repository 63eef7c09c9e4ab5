"""Hostile requests: forms, headers and audio files that are drawn and damaged at random from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import soundfile

CONTAINERS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("W64", "PCM_24"), ("RF64", "PCM_16"), ("AIFF", "PCM_16")]
CONTAINERS += [
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", None),
    ("CAF", "ALAC_16"),
    ("AU", "ULAW"),
]
NASTY = [b"", b"\0", b"../../etc/passwd", b"/dev/zero", b"\xff\xfe", b"a" * 5000, b'"', b"\r\n\r\n", b"--x--", b"%00"]
NASTY += [b"verbose_json", b"srt", b"vtt", b"text", b"nan", b"1e999", b"-1", b"en", b"whisper-1", "ÿ中\u202e".encode()]
NASTY += [b"word", b"segment", b"true", b"1", b"Anna, Bob; Eve\nx", b"<script>", b"{}", b"0" * 70000]
FIELDS = [b"file", b"model", b"language", b"prompt", b"response_format", b"temperature", b"stream", b"include[]"]
FIELDS += [b"timestamp_granularities[]", b"x"]
CHARSETS = [b"utf-8", b"punycode", b"idna", b"zlib", b"utf-16", b"unicode_escape", b"undefined", b"no-such", b"utf-7"]
PATHS = ["/v1/audio/transcriptions/", "/v1/models", "/v1/models/x", "/health", "/", "/v1/audio/translations", "/%00"]


@dataclass
class Input:
    """A request before it is sent."""

    body: bytes
    content_type: bytes
    method: str = "POST"
    path: str = "/v1/audio/transcriptions"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def audio_files(leave_out: str | None = None) -> list[bytes]:
    """A tenth of a second of a tone in every container soundfile writes, without the coding ``leave_out``."""
    tone = 0.3 * np.sin(np.arange(1600) / 4)
    files = []
    for container, coding in (pair for pair in CONTAINERS if pair[1] != leave_out):
        file = BytesIO()
        soundfile.write(file, tone, 16_000, format=container, subtype=coding)
        files.append(file.getvalue())
    return files


def draw(seed: int, index: int, files: list[bytes]) -> tuple[Input, random.Random]:
    """Input ``index``, and the generator that drew it."""
    chance = random.Random(f"{seed}/{index}")
    boundary = chance.choice([b"border", b"x" * 70, b"-", b"a b", b"'()+_,-./:=?"])
    parts = [_part(chance, b"file", chance.choice([b"a.wav", *NASTY]), _file(chance, files))]
    parts += [
        _part(chance, chance.choice(FIELDS), None, chance.choice(NASTY)) for _ in range(chance.choice([0, 1, 1, 3]))
    ]
    if chance.random() < 0.1:
        parts *= chance.choice([0, 2, 40])
    chance.shuffle(parts)
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    if chance.random() < 0.5:
        body = mutate(chance, body)
    content_type = b'multipart/form-data; boundary="' + boundary + b'"'
    kind = chance.random()
    if kind < 0.1:
        content_type += b"; charset=" + chance.choice(CHARSETS)
    elif kind < 0.2:
        content_type = mutate(chance, content_type).translate(None, b"\r\n\0")
    request = Input(body, content_type)
    if chance.random() < 0.05:
        request.path, request.method = chance.choice(PATHS), chance.choice(["GET", "POST", "HEAD", "PUT", "OPTIONS"])
    if chance.random() < 0.1:
        request.headers.append(
            (chance.choice([b"host", b"origin", b"range", b"authorization"]), chance.choice(NASTY[:8]))
        )
    return request, chance


def _part(chance: random.Random, name: bytes, filename: bytes | None, content: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="' + (name if chance.random() < 0.95 else chance.choice(NASTY)) + b'"'
    if (filename is not None) != (chance.random() < 0.03):
        head += b'; filename="' + (filename or b"f") + b'"'
    if chance.random() < 0.2:
        head += b"\r\nContent-Type: " + chance.choice(
            [b"audio/wav", b"text/plain; charset=x", b"multipart/mixed", b"\xff"]
        )
    return (mutate(chance, head) if chance.random() < 0.1 else head) + b"\r\n\r\n" + content


def _file(chance: random.Random, files: list[bytes]) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return chance.choice(NASTY)
    if kind < 0.2:
        return chance.randbytes(chance.randrange(300))
    chosen = chance.choice(files)
    return chosen if kind < 0.4 else mutate(chance, chosen)


def mutate(chance: random.Random, data: bytes) -> bytes:
    """A few bytes changed, taken out, put in, repeated, or the end cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(len(changed) + 1)
        length = chance.choice([1, 1, 2, 4, 16])
        match chance.randrange(5):
            case 0:
                changed[at : at + length] = chance.randbytes(len(changed[at : at + length]))
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = chance.choice([b"\xff\xff\xff\x7f", b"\0" * length, b"\r\n", chance.randbytes(length)])
            case 3:
                changed[at:at] = changed[at : at + 8 * length]
            case 4 if chance.random() < 0.3:
                del changed[at:]
    return bytes(changed)
