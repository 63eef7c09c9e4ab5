"""What people give a recogniser that is no speech, or hardly: one line each, exit status 2, and the rest is done."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_reader import campaign
from tests.command import run
from tests.tone_model import write_model, write_speech
from velocity.audio import SAMPLE_RATE, claimed_seconds, load_audio, read_blocks, resample
from velocity.cli import main
from velocity.errors import VelocityError

TONE = (0.3 * np.sin(np.arange(SAMPLE_RATE) * 0.1)).astype(np.float32)


def _header(path: Path, offset: int, value: bytes) -> None:
    soundfile.write(path, TONE, SAMPLE_RATE)
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    path.write_bytes(data)


def _flac(path: Path, keep: float = 1.0, claims: int | None = None) -> None:
    """A FLAC of which a part is kept, or whose header claims another length (36 bits; 0: unknown)."""
    soundfile.write(path, TONE, SAMPLE_RATE, format="FLAC")
    data = bytearray(path.read_bytes())
    if claims is not None:
        data[21] = data[21] & 0xF0 | claims >> 32
        data[22:26] = struct.pack(">I", claims & 0xFFFFFFFF)
    path.write_bytes(data[: round(keep * len(data))])


def _samples(value: float) -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, np.append(TONE, value), SAMPLE_RATE, subtype="FLOAT")


BAD = {
    "zero bytes": lambda path: path.write_bytes(b""),
    "header only": lambda path: soundfile.write(path, np.zeros(0), SAMPLE_RATE),
    "half a header": lambda path: path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfm"),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "text": lambda path: path.write_text("not a sound"),
    "NaN": _samples(np.nan),
    "infinity": _samples(np.inf),
    "beyond any sound": _samples(1e30),
    "truncated": lambda path: _flac(path, keep=0.6),
    "impossible length": lambda path: _flac(path, claims=2**36 - 1),
    "no sample rate": lambda path: _header(path, 24, struct.pack("<I", 0)),
    "1 Hz": lambda path: _header(path, 24, struct.pack("<I", 1)),
    "2 GHz": lambda path: _header(path, 24, struct.pack("<I", 2**31 - 1)),
    "65535 channels": lambda path: _header(path, 22, b"\xff\xff"),
    "one sample at 192 kHz": lambda path: soundfile.write(path, TONE[:1], 192_000),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "missing": lambda path: None,
}
FAIR = {
    "one sample": (TONE[:1], SAMPLE_RATE, "wav"),
    "8 channels": (np.tile(TONE[:, None], 8), 48_000, "wav"),
    "4 kHz": (TONE, 4_000, "wav"),
    "192 kHz": (TONE, 192_000, "flac"),
    "silence": (np.zeros(SAMPLE_RATE), SAMPLE_RATE, "flac"),
    "full-scale noise": (np.random.default_rng(1).uniform(-1, 1, SAMPLE_RATE), SAMPLE_RATE, "wav"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx")


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_named_on_one_line(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "fault.wav"
    BAD[fault](path)
    with pytest.raises(VelocityError) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert claimed_seconds(path) >= 0


def test_a_batch_goes_on_past_all_of_them(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, spoil in enumerate(BAD.values()):
        spoil(Path(f"in/{number}.wav"))
    for name, (samples, rate, suffix) in FAIR.items():
        soundfile.write(f"in/{name}.{suffix}", samples, rate)
    write_speech(Path("in/zz.ogg"), "hello world", model)
    files = [*sorted(str(path) for path in Path("in").iterdir()), f"in/{len(BAD) - 1}.wav"]
    status, out, error = run(capsys, "transcribe", *files, "--jobs", 3, "--model", model)
    assert status == 2
    texts = dict(line.split("\t") for line in out.splitlines())
    assert list(texts) == [file for file in files if not file[3:-4].isdigit()]
    assert texts["in/zz.ogg"] == "hello world"
    assert texts["in/silence.flac"] == texts["in/full-scale noise.wav"] == ""
    _, first, *failed = error[error.index("error: ") - 1 :].splitlines()
    assert f"{first} {len(failed)}".endswith(f"{len(BAD)} of {len(files)} files could not be transcribed: {len(BAD)}")
    assert {line.split(":")[0].strip() for line in failed} == {f"in/{number}.wav" for number in range(len(BAD))}
    assert "Traceback" not in error


def test_a_stream_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    _flac(tmp_path / "known.flac")
    _flac(tmp_path / "streamed.flac", claims=0)
    assert np.array_equal(load_audio(tmp_path / "streamed.flac"), load_audio(tmp_path / "known.flac"))


def test_a_length_that_is_claimed_is_not_allocated(tmp_path: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from velocity.audio import load_audio\nfrom velocity.errors import VelocityError\n"
        "try:\n    load_audio(sys.argv[1])\nexcept VelocityError as error:\n    print(error)"
    )
    _flac(tmp_path / "huge.flac", claims=2**36 - 1)  # 256 GB as float32
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "huge.flac"], capture_output=True, text=True)
    assert "cut off after 1.0 s of 4294967.3 s" in done.stdout, done.stderr


ODD = ["new\nline.wav", "tab\t.wav", "café 音.wav", os.fsdecode(b"latin-\xe9.wav"), "-dash.wav", " .wav"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_odd_names(tmp_path: Path, model: Path, form: str) -> None:
    """In a process of its own: what is printed must be UTF-8, and a line a file."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for name in ODD:
        write_speech(tmp_path / "plain.wav", "hello world", model)
        good.mkdir(exist_ok=True)
        bad.mkdir(exist_ok=True)
        (tmp_path / "plain.wav").rename(good / name)
        (bad / name).write_bytes(b"nothing")
    program = [sys.executable, "-m", "velocity.cli", "transcribe", good, bad, "--format", form, "--model", str(model)]
    done = subprocess.run(program, capture_output=True)
    out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    assert done.returncode == 2
    assert len(out.splitlines()) == out.count("hello world") == len(ODD)
    if form == "json":
        files = {os.fsencode(json.loads(line)["file"]) for line in out.splitlines()}
        assert files == {os.fsencode(good / name) for name in ODD}
    failed = err[err.index("error:") :].splitlines()
    assert f"{len(ODD)} of {2 * len(ODD)} files" in failed[0]
    assert len(failed) == 1 + len(ODD)


def test_standard_input(tmp_path: Path, model: Path, monkeypatch, capfdbinary) -> None:
    """Bytes of a file, or of what is none."""
    spoken = write_speech(tmp_path / "a.flac", "hello world", model).read_bytes()
    for data, status, out, err in (
        (spoken, 0, b"hello world\n", b""),
        (b"nothing", 2, b"", b"error: standard input: cannot be read as audio (Format not recognised.)\n"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(SystemExit) as stopped:
            main(["transcribe", "-", "--model", str(model)])
        assert (stopped.value.code, *capfdbinary.readouterr()) == (status, out, err)


def test_a_closed_standard_input_is_one_line(model: Path) -> None:
    """As services start their children; Python has no sys.stdin then."""
    line = f"exec {sys.executable} -m velocity.cli transcribe - --model {model} <&-"
    done = subprocess.run(["sh", "-c", line], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    expected = "error: standard input is closed: pipe audio into the command, or name a file\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


@settings(max_examples=25)
@given(
    st.sampled_from([4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 192_000]),
    st.integers(min_value=1, max_value=8),
    st.integers(min_value=200, max_value=400_000),
)
def test_blocks_are_the_file_as_a_whole(tmp_path_factory, rate: int, channels: int, count: int) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    samples = np.random.default_rng(count).uniform(-0.5, 0.5, (count // channels + 1, channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    expected = resample(samples.mean(axis=1) if channels > 1 else samples[:, 0], rate)
    assert np.array_equal(np.concatenate(list(read_blocks(path))), expected)


def test_the_reader_survives_mutated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign(2000, seed=2, hang=60, keep=tmp_path / "crashes") == 0, capsys.readouterr().out
    assert not (tmp_path / "crashes").exists()
