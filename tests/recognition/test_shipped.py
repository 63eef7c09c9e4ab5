"""The model that comes with the package: found by its name, small, and it hears."""

import json
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import onnx
import pytest
import soundfile

from tests.command import run
from velocity import VelocityASR
from velocity.commands.models import SHIPPED_MODEL as NAME
from velocity.commands.models import SHIPPED_STREAMING
from velocity.corpora.hibari import hibari_voices
from velocity.recognition.offline import SHIPPED

ROOT = Path(__file__).parents[2]
SENTENCES = [
    "the night was dark and the road was long",
    "he said that the men had been in the house for two hours",
    "we have never seen a better book than this one",
]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The sentences as a synthesiser reads them."""
    folder = tmp_path_factory.mktemp("recordings")
    (voice,) = hibari_voices(1, seed=7)
    for number, sentence in enumerate(SENTENCES):
        speech, rate = voice.speak(sentence, speed=0.9, pitch=1.2, seed=number)
        soundfile.write(folder / f"{number}.wav", 0.2 * speech / np.abs(speech).max(), rate)
    return folder


def test_it_is_small_and_says_what_it_is():
    folder = SHIPPED / NAME
    assert max(path.stat().st_size for path in (folder / "model.onnx", SHIPPED / "english.lm")) <= 5_000_000
    config = json.loads((folder / "config.json").read_text())
    assert config["name"].startswith(NAME)
    assert (config["target"], config["synthetic"]) == ("onnx-int8", False)
    for name in (NAME, SHIPPED_STREAMING):
        metadata = {entry.key: entry.value for entry in onnx.load(SHIPPED / name / "model.onnx").metadata_props}
        assert (metadata["name"], metadata["licence"], metadata["normalizer"]) == (
            name,
            "Apache-2.0",
            "velocity-english",
        )
        assert len(json.loads(metadata["classes"])) == config["vocabulary"]
    assert "speechocean762" in (folder / "MODEL_CARD.md").read_text()
    assert (ROOT / "models" / NAME / "model.onnx").samefile(folder / "model.onnx")


def test_it_hears_most_words_of_clear_speech(recordings):
    model = VelocityASR.from_pretrained(NAME, quantized=True)
    hypotheses = [model.transcribe(recordings / f"{number}.wav") for number in range(len(SENTENCES))]
    assert jiwer.wer(SENTENCES, hypotheses) < 0.6, hypotheses


def test_it_is_what_transcribes_where_there_is_no_project(recordings, tmp_path):
    program = "import sys; from velocity.cli import main; main()"
    command = [sys.executable, "-c", program, "transcribe", str(recordings / "0.wav")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    model = VelocityASR.from_pretrained(NAME, quantized=True)
    assert done.stdout.strip() == model.transcribe(recordings / "0.wav")


def test_its_streaming_sister_hears_live_speech_where_there_is_no_project(recordings, tmp_path, monkeypatch, capsys):
    assert (ROOT / "models" / SHIPPED_STREAMING / "model.onnx").stat().st_size <= 5_000_000
    monkeypatch.chdir(tmp_path)
    hypotheses = []
    for number in range(len(SENTENCES)):
        status, out, _ = run(capsys, "stream", recordings / f"{number}.wav", "--fast")
        assert status == 0
        hypotheses.append(" ".join(out.split()))
    assert jiwer.wer(SENTENCES, hypotheses) < 0.7, hypotheses


def test_a_streaming_model_does_not_transcribe_files_by_mistake(recordings, capsys):
    status, _, error = run(capsys, "transcribe", recordings / "0.wav", "--model", SHIPPED_STREAMING)
    assert (status, error.count("\n")) == (2, 1)
    assert "velocity-asr stream" in error
