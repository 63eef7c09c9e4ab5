"""What a command would destroy, ignore or lose is refused: one line, status 2, and nothing is touched."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.command import run
from tests.tone_model import speak, write_model
from velocity.audio import SAMPLE_RATE
from velocity.commands.gate import test_sets as load_test_sets
from velocity.errors import VelocityError
from velocity.recognition.offline import SHIPPED


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    write_model(folder / "tones")
    for place in ("one/speech", "two/speech"):
        (folder / place / "me/1").mkdir(parents=True)
        soundfile.write(folder / place / "me/1/me-1-0001.flac", speak("good day", folder / "tones"), SAMPLE_RATE)
        (folder / place / "me/1/me-1.trans.txt").write_text("me-1-0001 GOOD DAY\n")
    (folder / "words.txt").write_text("the cat sat\nthe cat ran\n" * 20)
    (folder / "theirs").mkdir()
    (folder / "theirs/thesis.txt").write_text("years of work")
    (folder / "damaged").mkdir()
    shutil.copy(folder / "tones/model.onnx", folder / "damaged")
    (folder / "damaged/config.json").write_text("{")
    (folder / "binary.jsonl").write_bytes(b"\x93NUMPY\x01\x00\xff\xfe")
    (folder / "english.lm").write_bytes((SHIPPED / "english.lm").read_bytes())
    return folder


@pytest.fixture
def folder(template, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "here"))
    return Path.cwd()


SPEECH, LM = "one/speech/me/1/me-1-0001.flac", "--model tones --lm english.lm"
REFUSED = {
    "demo into a folder of other files": ("demo --save theirs", "theirs: holds other files, which would be removed"),
    "demo into a file": ("demo --save words.txt", "words.txt: is a file"),
    "demo into the current folder": ("demo --save .", "is the current folder"),
    "a text as its own model": ("lm build words.txt --out words.txt", "words.txt: is one of the texts"),
    "a model as a folder": ("lm build words.txt --out theirs", "theirs: is a folder"),
    "a regular expression": ("lm tune --model tones --lm english.lm --test-set one/speech --only [", "--only '['"),
    "tuned for a file of the package's name": (
        "lm tune --model tones --lm english.lm --test-set one/speech --write",
        "english.lm: copy it to tones first",
    ),
    "a bonus without an end": (
        f"transcribe {SPEECH} {LM} --word-bonus inf",
        "--word-bonus inf",
    ),
    "a weight that is no number": (
        f"transcribe {SPEECH} {LM} --lm-weight nan",
        "--lm-weight",
    ),
    "words that are a folder": ("adapt --vocabulary theirs --out my", "theirs: no such file"),
    "a damaged base": ("adapt --vocabulary words.txt --out my --base damaged", "config.json: missing or damaged"),
    "out of reach": ("adapt --vocabulary words.txt --out /proc/nope/my", "/proc/nope"),
    "a manifest that is none": ("evaluate --test-set binary.jsonl --model tones", "binary.jsonl line 1: not a cut"),
    "audio as a manifest": (f"evaluate --test-set {SPEECH} --model tones", "line 1: not a cut"),
    "a name that is too long": (f"transcribe {'x' * 300}.wav --model tones", "xxx"),
    "a rate for a file": (f"stream {SPEECH} --rate 8000", "--rate and --channels apply only to raw audio on stdin"),
    "haste for live audio": ("stream - --fast", "--fast works only with a FILE"),
    "time to train on nothing": ("adapt --vocabulary words.txt --out my --minutes 5", "without one nothing is trained"),
    "a server without an end": ("serve --max-megabytes inf", "--max-megabytes inf"),
    "a report in place of a file": ("evaluate --test-set one/speech --model tones --report words.txt", "words.txt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_nothing_is_touched(folder, capsys, name):
    command, message = REFUSED[name]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, _, errors = run(capsys, *command.split())
    assert status == 2, errors
    assert message in errors.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_empty_argument_is_not_the_current_folder(folder, capsys):
    status, _, error = run(capsys, "transcribe", "", "--model", "tones")
    assert (status, "an argument is empty" in error) == (2, True)


def test_a_terminated_command_leaves_no_temporary_folder(folder):
    """``demo --save`` is stopped while its temporary folder is being filled."""
    stopped = (
        "import os, shutil, signal; from velocity.cli import main; "
        "shutil.copyfile = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM); "
        "shutil.copy = shutil.copy2 = shutil.copytree = shutil.copyfile; main(['demo', '--save', 'page'])"
    )
    process = subprocess.run([sys.executable, "-c", stopped], capture_output=True, text=True)
    assert process.returncode == 143, process.stderr
    assert not list(folder.glob(".*.partial"))


def test_two_test_sets_of_one_name_are_refused(folder):
    assert len(load_test_sets(["one/speech"])["speech"]) == 1
    with pytest.raises(VelocityError, match="two/speech: a second test set called speech"):
        load_test_sets(["one/speech", "two/speech"])


def test_a_table_with_an_open_quotation_mark_is_named(folder, capsys):
    Path("speech.csv").write_text('path,text\na.wav,"' + "x" * (csv.field_size_limit() + 1))
    status, _, error = run(capsys, "adapt", "speech.csv", "--out", "my", "--base", "tones")
    assert (status, "speech.csv: not a table" in error) == (2, True)


def test_the_current_folder_can_be_transcribed(folder, capsys):
    command = ("transcribe", ".", "--model", "../tones", "--output-dir", "../texts")
    os.chdir("one")
    assert run(capsys, *command)[0] == 0
    assert Path("../texts/speech/me/1/me-1-0001.txt").read_text() == "good day\n"
    Path("../empty").mkdir()
    os.chdir("../empty")
    assert run(capsys, *command)[0] == 2


@pytest.mark.parametrize(
    ("redirection", "message"), [(">&-", "standard output is closed"), ("> /dev/full", "no space")]
)
def test_text_that_cannot_be_written_is_an_error(folder, redirection, message):
    command = f"{sys.executable} -m velocity.cli transcribe {SPEECH} --model tones --lm none {redirection}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
