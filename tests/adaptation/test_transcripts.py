"""``--unlabelled``: what the base is sure of in recordings without a text becomes speech to train on."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tone_model import speak, write_model, write_speech
from velocity.adaptation.speech import TRAIN, write_parts
from velocity.adaptation.transcripts import transcribed
from velocity.adaptation.workspace import Workspace
from velocity.audio import SAMPLE_RATE, load_audio
from velocity.recognition.offline import VelocityASR


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "onnx-int8", "onnx-int8")


def test_sure_utterances_are_cut_out_and_the_rest_is_left(base, tmp_path, capsys):
    write_speech(tmp_path / "sure.wav", "the cat sat", base)
    random = np.random.default_rng(0)
    murmur = 0.02 * random.standard_normal(3 * SAMPLE_RATE) + 0.05 * speak("ab", base).mean()
    soundfile.write(tmp_path / "murmur.wav", murmur, SAMPLE_RATE)
    workspace = Workspace(tmp_path / "w", {}, ["transcribe"])
    found = transcribed(workspace, base, [tmp_path / "sure.wav", tmp_path / "murmur.wav"])
    assert [spoken.text for spoken in found] == ["the cat sat"]
    assert VelocityASR(base).transcribe(found[0].path) == "the cat sat"
    assert found[0].seconds == pytest.approx(len(load_audio(tmp_path / "sure.wav")) / SAMPLE_RATE, abs=0.05)
    assert "s without a text, in 1 utterances" in capsys.readouterr().err
    write_parts({TRAIN: found}, tmp_path / "parts")
    (listing,) = (tmp_path / "parts" / TRAIN).rglob("*.trans.txt")
    assert listing.read_text().split(maxsplit=1)[1] == "the cat sat\n"


def test_a_later_run_takes_what_there_is(base, tmp_path):
    write_speech(tmp_path / "a.wav", "go on now", base)
    workspace = Workspace(tmp_path / "w", {}, ["transcribe"])
    first = transcribed(workspace, base, [tmp_path / "a.wav"])
    index = tmp_path / "w/transcribed/transcripts.json"
    index.write_text(json.dumps([[name, "changed", seconds] for name, _, seconds in json.loads(index.read_text())]))
    again = transcribed(Workspace(tmp_path / "w", {}, ["transcribe"]), base, [tmp_path / "a.wav"])
    assert (len(first), [spoken.text for spoken in again]) == (1, ["changed"])
