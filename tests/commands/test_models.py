"""Weights given instead of an artefact are exported once, into the cache, and again when they change."""

from pathlib import Path

import pytest

from tests.command import run
from tests.tone_model import write_model
from velocity.artefacts import target
from velocity.commands.models import find_artefact


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder of weights and the list of exports made from it; each export is a recogniser of tones."""
    exports = []

    def export(name, trained, folder):
        exports.append((name, trained.weights.read_bytes()))
        write_model(Path(folder), name)

    monkeypatch.setattr(target, "export_target", export)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.model", "calibration.json"):
        (folder / name).write_bytes(name.encode())
    return folder, exports


def test_weights_are_exported_once_for_each_target(trained, tmp_path, capsys):
    folder, exports = trained
    artefacts = [find_artefact(str(folder), quantized) for quantized in (True, True, False)]
    assert [name for name, _ in exports] == ["onnx-int8", "onnx"]
    assert artefacts[0] == artefacts[1] != artefacts[2]
    assert all(tmp_path / "cache" in artefact.parents for artefact in artefacts)
    assert capsys.readouterr().err.count("takes about a minute, once") == 2
    (folder / "model.safetensors").write_bytes(b"trained further")
    assert find_artefact(str(folder), True) not in artefacts
    assert [weights for _, weights in exports] == [b"model.safetensors", b"model.safetensors", b"trained further"]


def test_without_calibration_the_artefact_is_floating_point(trained):
    folder, exports = trained
    (folder / "calibration.json").unlink()
    assert find_artefact(str(folder), True).name == "onnx"
    assert [name for name, _ in exports] == ["onnx"]


def test_weights_without_their_tokenizer_are_one_line(trained, capsys):
    folder, exports = trained
    (folder / "tokenizer.model").unlink()
    status, _, error = run(capsys, "transcribe", "any.wav", "--model", folder)
    assert status == 2
    assert error.startswith(f"error: {folder}: holds no tokenizer.model")
    assert not exports
