"""``velocity-asr adapt`` as a user meets it: what is refused at once, and whole adaptations of a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.adaptation.released import draw, release, speak
from tests.command import run
from velocity.commands.adaptation import steps

SHIFT = 180.0  # Hz: about half of the tones so high are the next letter to the base


def record(folder: Path, count: int, letters: int = 3, shift: float = SHIFT, loudness: float = 1.0) -> Path:
    """Recordings of ``letters`` words, with a ``.txt`` beside each."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        words = draw(random, letters)
        soundfile.write(folder / f"memo {number}.wav", loudness * speak(words, shift), 16_000)
        (folder / f"memo {number}.txt").write_text(words)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Where no project is."""
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments: object) -> str:
    """The one line of an error, after which nothing was written."""
    before = sorted(Path().iterdir())
    status, out, err = run(capsys, "adapt", *arguments)
    assert (status, out) == (2, "")
    assert sorted(Path().iterdir()) == before
    (line,) = [line for line in err.splitlines() if not line.startswith("read ")]
    return line.removeprefix("error: ")


def test_what_cannot_be_adapted_is_refused_in_one_line(tmp_path, capsys):
    few = record(tmp_path / "few", 20, letters=2)
    expected = "few: 12 s of speech in 20 recordings are too little to adapt and evaluate: "
    assert refused(capsys, "few", "--out", "my").startswith(expected)
    Path("there").mkdir()
    assert refused(capsys, "few", "--out", "there").startswith("there: exists already")
    assert refused(capsys, "none", "--out", "my") == "none: no such folder, and no table (.csv, .tsv)"
    for text in few.glob("*.txt"):
        text.unlink()
    assert refused(capsys, "few", "--out", "my").startswith("few: no transcripts found; expected")
    record(tmp_path / "enough", 25, letters=10)
    live = refused(capsys, "enough", "--out", "my", "--base", "velocity-asr-v2-streaming")
    assert "velocity-asr-v2-streaming: a model for live audio cannot be adapted" in live
    (tmp_path / "empty").mkdir()
    assert "neither model.onnx" in refused(capsys, "enough", "--out", "my", "--base", "empty")
    status, out, _ = run(capsys, "adapt", "none", "--out", "my", "--json")
    assert (status, json.loads(out)["verdict"]) == (2, "invalid")


def test_the_steps_follow_from_the_minutes_and_the_speech():
    assert steps(10, 600, 40) == 300
    assert steps(20, 600, 40) == 600
    assert steps(10, 60, 40) == 60  # 40 epochs
    assert steps(0.1, 600, 40) == 20


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """It knows the tones as they are."""
    return release(tmp_path_factory.mktemp("base"), steps=400) / "model"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_silence_is_refused_by_the_stage_that_validates(tmp_path, base, capsys):
    record(tmp_path / "silence", 25, letters=10, loudness=0.0)
    status, _, err = run(capsys, "adapt", "silence", "--out", "my", "--base", base)
    assert status == 2
    error = err.splitlines()[-1]
    assert error.startswith("error: my.adapting/fold-1: corpus speech: 25 utterances would be dropped")
    assert "silence 25" in error
    assert not Path("my").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_adaptation_goes_on_and_one_that_learns_is_written(tmp_path, base, capsys):
    record(tmp_path / "mine", 160)
    options = ["mine", "--out", "my", "--base", str(base), "--minutes", "4"]
    command = [sys.executable, "-m", "velocity.cli", "adapt", *options]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    checkpoints = tmp_path / "my.adapting/fold-2/models/checkpoints/finetune"
    while not list(checkpoints.glob("0*/state.json")) and killed.poll() is None:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the adaptation ended before it could be killed"
    status, out, err = run(capsys, "adapt", *options, "--json")
    assert "resuming in my.adapting" in err
    assert "goes on from the checkpoint after step" in err
    result = json.loads(out)
    assert (status, result["verdict"], result["model"]) == (0, "pass", "my"), err
    own = result["test_sets"]["your held-out speech"]
    assert own["adapted"]["wer"] < own["base"]["wer"] - 0.05
    assert not Path("my.adapting").exists()
    assert {"model.onnx", "config.json", "tokenizer.model"} <= {path.name for path in Path("my").iterdir()}
    assert run(capsys, "transcribe", "mine/memo 0.wav", "--model", "my")[0] == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_that_is_no_better_is_not_written(tmp_path, base, capsys):
    record(tmp_path / "mine", 80, shift=0.0)
    status, out, _ = run(capsys, "adapt", "mine", "--out", "my", "--base", base, "--minutes", "0.1")
    assert status == 1
    assert "your held-out speech: " in out
    assert "refused: my is not written" in out
    assert not Path("my").exists()
