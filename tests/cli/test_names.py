"""Names that disks, shares and terminals make hard, and what macOS and Windows leave beside recordings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.command import run
from tests.corpora.layouts import gather
from tests.tone_model import write_model, write_speech
from velocity.corpora.kinds.folder import read_folder

LEFTOVERS = ("._a.wav", "._7-1.trans.txt", "Thumbs.db", "desktop.ini", ".DS_Store")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx")


def transcribe(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "transcribe", *arguments)


def litter(folder: Path) -> list[Path]:
    for name in LEFTOVERS:
        (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    return [folder / name for name in LEFTOVERS]


def test_leftovers_are_no_recordings(tmp_path: Path, model: Path, capsys) -> None:
    for name in ("a.wav", "b.flac"):
        write_speech(tmp_path / "in" / name, "hello", model)
    left = litter(tmp_path / "in")
    status, out, err = transcribe(capsys, tmp_path / "in", "--model", model)
    assert (status, out.count("hello"), "error" in err) == (0, 2, False)
    status, out, err = transcribe(capsys, *sorted((tmp_path / "in").iterdir()), "--model", model)  # as a shell's *
    assert (status, out.count("hello")) == (0, 2)
    assert f"note: {len(left)} files skipped" in err


def test_other_files_of_a_folder_are_counted_and_named(tmp_path: Path, model: Path, capsys) -> None:
    write_speech(tmp_path / "in" / "a.wav", "hello", model)
    for number in range(7):
        (tmp_path / "in" / f"{number}.txt").write_text("notes")
    status, out, err = transcribe(capsys, tmp_path / "in", "--model", model)
    assert (status, out) == (0, "hello\n")
    (note,) = (line for line in err.splitlines() if line.startswith("note: "))
    assert note.startswith("note: 7 files skipped")
    assert f"{tmp_path}/in/0.txt" in note


def test_a_sphere_file_in_a_folder_is_read(tmp_path: Path, model: Path, capsys) -> None:
    write_speech(tmp_path / "in" / "a.wav", "hello", model)
    import soundfile

    samples, rate = soundfile.read(tmp_path / "in" / "a.wav")
    soundfile.write(tmp_path / "in" / "b.sph", samples, rate, format="NIST", subtype="PCM_16")
    assert transcribe(capsys, tmp_path / "in", "--model", model)[1].count("hello") == 2


@pytest.mark.parametrize(("on_disk", "in_text"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_fetch_joins_names_of_either_form_and_skips_leftovers(tmp_path: Path, model: Path, on_disk, in_text) -> None:
    name = "josé-1-0"
    folder = tmp_path / "josé" / "1"
    write_speech(folder / f"{unicodedata.normalize(on_disk, name)}.wav", "hello", model)
    (folder / "1.trans.txt").write_text(f"{unicodedata.normalize(in_text, name)} HELLO\n", encoding="utf-8")
    litter(folder)
    recordings, supervisions, faults = gather(read_folder("mine", tmp_path))
    assert faults == []
    assert [recording.id for recording in recordings] == [f"mine/{unicodedata.normalize('NFC', name)}"]
    assert [segment.text for segment in supervisions] == ["HELLO"]
    assert Path(recordings[0].sources[0].source).exists()


@pytest.mark.parametrize("name", ["a" * 246, "é" * 123, "音" * 82])
def test_a_name_as_long_as_a_file_system_allows(tmp_path: Path, model: Path, capsys, name: str) -> None:
    assert 245 <= len(os.fsencode(name)) <= 251
    for ending in ("", "x"):  # two that differ in the part that the temporary name lacks
        write_speech(tmp_path / "in" / f"{name}{ending}.wav", "hello", model)
    status, _, err = transcribe(
        capsys, tmp_path / "in", "--output-dir", tmp_path / "out", "--model", model, "--jobs", 2
    )
    assert status == 0, err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.txt", f"{name}x.txt"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_name_that_the_output_lacks_costs_no_other_file(
    tmp_path: Path, model: Path, encoding: str, form: str
) -> None:
    names = ["a.wav", "é.wav", "音楽😀.wav", "z.wav"]
    for name in names:
        write_speech(tmp_path / name, "hello", model)
    (tmp_path / "音.wav").write_bytes(b"nothing")
    command = [sys.executable, "-m", "velocity.cli", "transcribe", tmp_path, "--format", form, "--model", str(model)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert (done.returncode, out.count("hello") // (2 if form == "json" else 1)) == (2, len(names))
    assert "Traceback" not in err
    assert "\\u97f3.wav: cannot be read" in err
    if form == "json":
        assert [Path(json.loads(line)["file"]).name for line in out.splitlines()] == sorted(names)


def test_the_last_cue_ends_with_the_audio(tmp_path: Path, model: Path, capsys) -> None:
    import soundfile

    path = write_speech(tmp_path / "a.wav", "hello", model)
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[: len(samples) // 320 * 320 - 1600 + 7], rate)
    _, out, _ = transcribe(capsys, path, "--format", "vtt", "--model", model)
    *_, end = next(line for line in out.splitlines() if "-->" in line).split(":")
    assert float(end) <= soundfile.info(path).duration + 0.0005
