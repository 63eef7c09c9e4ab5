"""What users of NumPy, soundfile, torchaudio and open files pass gives the text of the file, or one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.tone_model import speak
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram, load_audio, resample
from velocity.errors import VelocityError, VelocityWarning
from velocity.reading.arrays import scaled
from velocity.recognition.offline import VelocityASR

TEXT = "hello world"


@pytest.fixture(scope="module")
def samples(folder: Path) -> np.ndarray:
    return speak(TEXT, folder)


def as_wav(samples: np.ndarray, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "subtype"), [("int16", "PCM_16"), ("int32", "PCM_32"), ("uint8", "PCM_U8")])
def test_integers_are_what_soundfile_makes_of_them(samples: np.ndarray, kind: str, subtype: str) -> None:
    expected = soundfile.read(io.BytesIO(as_wav(samples, subtype)), dtype="float64")[0]
    full = {"int16": 2.0**15, "int32": 2.0**31, "uint8": 2.0**7}[kind]
    integers = np.rint(expected * full + 128 * (kind == "uint8")).astype(kind)
    np.testing.assert_allclose(scaled(integers), expected, atol=1e-7)
    np.testing.assert_allclose(compute_mel_spectrogram(integers), compute_mel_spectrogram(expected), atol=1e-3)


def test_int8_is_a_fraction_of_128() -> None:
    np.testing.assert_array_equal(scaled(np.array([-128, 0, 64], np.int8)), np.float32([-1, 0, 0.5]))


def tensor(samples: np.ndarray, kind: str = "float32") -> Any:
    import torch

    return torch.from_numpy(samples).to(getattr(torch, kind))


ACCEPTED: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "int16": lambda x: (x * 32767).astype(np.int16),
    "int32": lambda x: (x * 2147483000).astype(np.int32),
    "int8": lambda x: (x * 127).astype(np.int8),
    "big-endian int16": lambda x: (x * 32767).astype(">i2"),
    "a list": lambda x: x.tolist(),
    "(n, 1)": lambda x: x[:, None],
    "(1, n)": lambda x: x[None],
    "(n, 2), as of soundfile": lambda x: np.stack([x, x], axis=1),
    "(2, n), as of torchaudio": lambda x: np.stack([x, x]),
    "(2, n) out of phase": lambda x: np.stack([x, -x]),
    "(n, 2) int16": lambda x: (np.stack([x, x], axis=1) * 32767).astype(np.int16),
    "soundfile.read": lambda x: soundfile.read(io.BytesIO(as_wav(x))),
    "soundfile.read of 48 kHz": lambda x: (resample(x, SAMPLE_RATE, 48_000), 48_000),
    "a tensor": tensor,
    "a tensor that needs a gradient": lambda x: tensor(x).requires_grad_(),
    "a tensor (1, n) of bfloat16": lambda x: tensor(x, "bfloat16")[None],
    "blocks": lambda x: iter(np.array_split(x, 7)),
    "blocks of int16": lambda x: (block for block in np.array_split((x * 32767).astype(np.int16), 7)),
    "blocks with an empty one": lambda x: iter([x[:0], x]),
    "bytes": as_wav,
    "a bytearray": lambda x: bytearray(as_wav(x)),
    "BytesIO": lambda x: io.BytesIO(as_wav(x)),
    "a view that does not own its samples": lambda x: np.repeat(x, 2)[::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32),
}


@pytest.mark.filterwarnings("ignore::velocity.errors.VelocityWarning")
@pytest.mark.parametrize("kind", ACCEPTED)
def test_accepted(model: VelocityASR, samples: np.ndarray, kind: str) -> None:
    assert model.transcribe(ACCEPTED[kind](samples)) == TEXT


REFUSED: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "NaN": (lambda x: np.append(x, np.nan), "NaN"),
    "Inf in a block": (lambda x: iter([x, np.float32([np.inf])]), "NaN"),
    "beyond float32": (lambda x: np.append(x.astype(np.float64), 1e300), "NaN"),
    "int64": (lambda x: (x * 32767).astype(np.int64), "int64"),
    "complex": (lambda x: x + 1j, "complex"),
    "bool": (lambda x: x > 0, "bool"),
    "objects": (lambda x: np.array([x, None], dtype=object), "object"),
    "strings": (lambda x: ["a", "b"], "expected"),
    "a number": (lambda x: 3.0, "float"),
    "None": (lambda x: None, "NoneType"),
    "no samples": (lambda x: x[:0], "shape"),
    "three axes": (lambda x: x[None, :, None], "shape"),
    "a spectrogram": (lambda x: np.zeros((300, 80), np.float32), "shape"),
    "a list of arrays": (lambda x: [x, x], "list"),
    "a dictionary": (lambda x: {"raw": x}, "dict"),
    "a rate that is none": (lambda x: (x, 0), "sample rate of 0 Hz"),
    "empty bytes": (lambda x: b"", "no bytes"),
    "a file at its end": (lambda x: _at_end(as_wav(x)), r"seek\(0\)"),
    "a closed file": (lambda x: _closed(as_wav(x)), "closed"),
    "text": (lambda x: io.StringIO("RIFF"), "'rb'"),
    "bytes of something else": (lambda x: b"nothing of the kind", "audio in memory: cannot be read as audio"),
}


def _at_end(data: bytes) -> io.BytesIO:
    file = io.BytesIO()
    file.write(data)
    return file


def _closed(data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.close()
    return file


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_a_line(model: VelocityASR, samples: np.ndarray, kind: str) -> None:
    make, reason = REFUSED[kind]
    with pytest.raises(VelocityError, match=reason) as caught:
        model.transcribe(make(samples))
    assert str(caught.value).isprintable()


def test_an_open_file_is_read_from_where_it_is_and_named(model: VelocityASR, samples: np.ndarray, tmp_path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"header of a database" + as_wav(samples))
    with open(path, "rb") as file:
        file.seek(20)
        assert model.transcribe(file) == TEXT
    path.write_bytes(b"nothing")
    with open(path, "rb") as file, pytest.raises(VelocityError, match=f"^{path}: cannot be read as audio"):
        load_audio(file)


def test_channels_of_an_array_that_cancel_are_noted(model: VelocityASR, samples: np.ndarray) -> None:
    with pytest.warns(VelocityWarning, match="^audio: its channels cancel"):
        model.transcribe(np.stack([samples, -samples]))


@pytest.mark.parametrize("extra", [1, 100, 161, 319])
def test_nothing_ends_after_the_audio(model: VelocityASR, samples: np.ndarray, extra: int) -> None:
    """A frame of the model is 20 ms; audio ends anywhere in it."""
    cut = samples[: len(samples) // 320 * 320 - 320 * 4 + extra]
    for passage in model.passages(cut):
        assert passage.end == len(cut) / SAMPLE_RATE
        assert all(word.start <= word.end <= passage.end for word in passage.words)


def test_live_audio_takes_the_same_arrays(samples: np.ndarray) -> None:
    from velocity.recognition.streaming import Stream

    class Model:
        chunk_frames, lead_frames, stride, frame_seconds, reads_phones = 16, 2, 2, 0.02, False

    for piece in (samples, (samples * 32767).astype(np.int32), tensor(samples)[None], samples[:, None].astype(float)):
        stream = Stream.__new__(Stream)
        taken: list[np.ndarray] = []
        _prepare(stream, Model(), taken)
        stream.accept(piece)
        assert len(np.concatenate(taken)) == len(samples)


def _prepare(stream: Any, model: Any, taken: list[np.ndarray]) -> None:
    from velocity.recognition.streaming import Endpoint

    stream.__init__(model, Endpoint())
    stream._features.accept = taken.append
    stream._features.take = lambda count: None
