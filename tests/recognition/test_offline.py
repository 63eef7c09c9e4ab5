"""The light runtime on a recogniser of tones whose right answers are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import velocity.runtime
from tests.tone_model import VOCABULARY, speak, write_model, write_speech
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.errors import VelocityError
from velocity.recognition.offline import VelocityASR

SENTENCE = "the quick brown fox's tail jumps over"


def test_the_documented_example(folder: Path, tmp_path: Path) -> None:
    path = write_speech(tmp_path / "a.wav", SENTENCE, folder)
    model = velocity.VelocityASR.from_pretrained(str(folder), quantized=True)
    mel = velocity.compute_mel_spectrogram(velocity.load_audio(path))
    log_probs = model(mel.unsqueeze(0))
    assert log_probs.shape == (1, -(-len(mel) // 2), VOCABULARY)
    assert np.allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    assert model.decode_ctc(log_probs) == model.transcribe(path) == SENTENCE
    assert VelocityASR is velocity.VelocityASR is velocity.runtime.VelocityASR


def test_features_of_any_kind(model: VelocityASR, folder: Path) -> None:
    import torch

    mel = compute_mel_spectrogram(speak("one two", folder))
    expected = model(mel)
    batch = model(np.stack([mel, mel]))
    assert batch.shape == (2, *expected.shape[1:])
    for other in (batch[:1], batch[1:], model(torch.tensor(np.asarray(mel), requires_grad=True)), model(mel.tolist())):
        assert np.array_equal(other, expected)


@pytest.mark.parametrize("shape", [(80,), (10, 79), (0, 80), (1, 1, 10, 80)])
def test_features_of_the_wrong_shape(model: VelocityASR, shape: tuple[int, ...]) -> None:
    with pytest.raises(VelocityError, match="expected"):
        model(np.zeros(shape))


def test_the_artefact_is_chosen(tmp_path: Path) -> None:
    for name in ("onnx", "onnx-int8"):
        write_model(tmp_path / name, target=name)
    for quantized, name in ((True, "onnx-int8"), (False, "onnx")):
        assert VelocityASR.from_pretrained(tmp_path, quantized).config["target"] == name


def test_shipped_models_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("velocity.recognition.offline.SHIPPED", tmp_path)
    write_model(tmp_path / "tiny" / "onnx-int8")
    assert VelocityASR.from_pretrained("tiny", quantized=True).folder == tmp_path / "tiny" / "onnx-int8"
    with pytest.raises(VelocityError, match=r"tiny: neither model.onnx nor onnx/ .*onnx-int8"):
        VelocityASR.from_pretrained("tiny")
    with pytest.raises(VelocityError, match=r"small: no such model folder.*\(tiny\)"):
        VelocityASR.from_pretrained("small")


def _config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


BREAKS = {
    "model.onnx is missing": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx"),
    "model.onnx is cut": (lambda folder: (folder / "model.onnx").write_bytes(b"\x08\x09half"), "model.onnx"),
    "config.json is missing": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "config.json is cut": (lambda folder: (folder / "config.json").write_text('{"format": 1'), "config.json"),
    "config.json is a list": (lambda folder: (folder / "config.json").write_text("[1]"), "config.json"),
    "config.json is newer": (lambda folder: _config(folder, format=2), "format 2"),
    "another sample rate": (lambda folder: _config(folder, sample_rate=8000), "8000"),
    "another vocabulary": (lambda folder: _config(folder, vocabulary=99), "99"),
    "tokenizer.model is cut": (lambda folder: (folder / "tokenizer.model").write_bytes(b"x"), "tokenizer.model"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_broken_models_are_named_on_one_line(tmp_path: Path, fault: str) -> None:
    spoil, named = BREAKS[fault]
    folder = write_model(tmp_path / "broken")
    spoil(folder)
    with pytest.raises(VelocityError, match=named) as caught:
        VelocityASR(folder)
    assert "broken" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_silent_and_empty_audio(model: VelocityASR) -> None:
    assert model.transcribe(np.zeros(SAMPLE_RATE, dtype=np.float32)) == ""
    for wrong in (np.zeros(0), np.zeros((2, 100))):
        with pytest.raises(VelocityError, match="shape"):
            model.transcribe(wrong)


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, velocity; print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'onnxruntime'}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
