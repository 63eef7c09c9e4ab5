"""The records of the targets, what an artefact states about itself, and that its bytes follow from the inputs alone."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from velocity.artefacts import targets as package
from velocity.artefacts.description import labels
from velocity.artefacts.target import Bars, export_target, targets
from velocity.artefacts.trained import folder_model
from velocity.cli.app import app
from velocity.errors import VelocityError
from velocity.evaluation.parity import compare, load_reference, torch_reference, verdict
from velocity.evaluation.speed import sizes
from velocity.model import asr
from velocity.stages.evaluate import exported

STREAMING = {"onnx-streaming", "onnx-streaming-int8"}  # of a causal model: see test_streaming.py
THROW_AWAY = """
from dataclasses import replace
from velocity.artefacts.targets.onnx import TARGETS as ONNX
TARGETS = {"throw-away": replace(ONNX["onnx"], order=15, about="a target of one file")}
"""


@pytest.mark.parametrize("name", [name for name in targets() if name not in STREAMING])
def test_every_artefact_computes_its_reference_and_describes_itself(name, artefact, trained):
    target, folder = targets()[name], artefact(name)
    config = json.loads((folder / "config.json").read_text())
    assert (config["target"], config["name"], config["licence"]) == (name, "a-toy", "CC0-1.0")
    assert config["provenance"] == {"weights": trained.digest}
    assert (folder / "README.md").is_file() == bool(target.write_notes)
    figures = sizes(folder, target)
    assert 0 < figures["bytes"] <= figures["folder_bytes"]
    if target.same_as:
        return
    noise = np.random.default_rng(0)
    speech = [noise.normal(0, 0.1, samples).astype(np.float32) for samples in (400, 16_000, 50_000)]
    reference = torch_reference(load_reference(target.comparison.reference, trained.weights, trained.calibration))
    found = compare(reference, target.comparison.load(folder, 1), speech)
    # An untrained model has no clear best class, so a rounding may change it now and then.
    assert verdict(found, Bars(0.9, target.comparison.bars.max_abs_error))["failed"] == []


def test_targets_are_ordered_and_made_from_targets():
    assert list(targets()) == [
        "onnx", "onnx-int8", "onnx-streaming", "onnx-streaming-int8", "onnx-int4", "onnx-int2", "coreml", "coreml-int8",
        "tflite", "tflite-int8", "web",
    ]  # fmt: skip
    for target in targets().values():
        assert target.about
        assert {target.made_from, target.same_as} <= targets().keys() | {None}


def test_a_new_file_is_a_new_target(trained, tmp_path, monkeypatch):
    """Export, evaluate, benchmark and --help know it."""
    (tmp_path / "throw_away.py").write_text(THROW_AWAY)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    targets.cache_clear()
    try:
        folder = tmp_path / "models/export/throw-away"
        export_target("throw-away", trained, folder)
        assert list(exported()) == ["throw-away"]
        assert "a target of one file" in CliRunner().invoke(app, ["export", "--help"]).output
        assert sizes(folder, targets()["throw-away"])["bytes"] == (folder / "model.onnx").stat().st_size
    finally:
        monkeypatch.undo()
        targets.cache_clear()


def test_bytes_follow_from_the_weights_and_not_from_git(trained, artefact, tmp_path, monkeypatch):
    """Exported again in a repository after an amended commit, and in a shallow clone, without calling any program."""
    start = lambda *arguments, cwd=tmp_path: subprocess.run(  # noqa: E731
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=cwd, check=True, capture_output=True
    )
    start("init", "-q", "project")
    project = tmp_path / "project"
    for path in trained.weights.parent.iterdir():
        (project / path.name).write_bytes(path.read_bytes())
    start("add", ".", cwd=project)
    start("commit", "-qm", "first", cwd=project)
    start("commit", "-q", "--amend", "-m", "another message", cwd=project)
    start("clone", "-q", "--depth", "1", f"file://{project}", "shallow")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("the export started a program"))
    for clone in (project, tmp_path / "shallow"):
        monkeypatch.chdir(clone)
        export_target("onnx-int8", folder_model(clone), clone / "out", artefact("onnx"))
        for path in artefact("onnx-int8").iterdir():
            assert (clone / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_weights_are_read_once(trained, artefact, tmp_path, monkeypatch):
    reads, read = [], asr.read_weights
    monkeypatch.setattr(asr, "read_weights", lambda path: reads.append(path) or read(path))
    export_target("onnx-int4", replace(trained), tmp_path / "out", artefact("onnx"))
    assert reads == [trained.weights]


def test_a_folders_provenance_is_kept(trained, tmp_path):
    for path in trained.weights.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"provenance": {"run": "c0ffee"}}))
    described = labels(folder_model(tmp_path), "tflite")
    assert json.loads(described["provenance"]) == {"run": "c0ffee", "weights": trained.digest}
    assert json.loads(described["licence"]) is None
    assert str(tmp_path) not in json.dumps(described)


def test_the_graph_is_labelled_as_its_folder(artefact):
    config = json.loads((artefact("onnx") / "config.json").read_text())
    session = onnxruntime.InferenceSession(str(artefact("onnx") / "model.onnx"), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert len(json.loads(metadata["classes"])) == 30
    assert {key: metadata[key] for key in ("name", "licence", "normalizer")}.items() <= config.items()
    for key in ("provenance", "model", "sample_rate"):
        assert json.loads(metadata[key]) == config[key]
    assert (config["frame_seconds"], config["opset"], config["model"]["blocks"]) == (0.02, 18, 1)
    assert {path.name for path in artefact("onnx").iterdir()} == {"config.json", "model.onnx", "tokenizer.model"}


def test_a_target_that_takes_no_samples_names_those_that_do(trained, tmp_path):
    with pytest.raises(VelocityError, match=r"takes log-mel features only; targets that take .*: onnx, "):
        export_target("onnx-streaming", replace(trained, input="waveform"), tmp_path / "out")
    with pytest.raises(VelocityError, match="onnx-int9: unknown export target; known are onnx, onnx-int8"):
        export_target("onnx-int9", trained, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_failed_export_leaves_nothing(trained, tmp_path):
    with pytest.raises(VelocityError, match=r"holds no model\.safetensors"):
        folder_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(VelocityError, match=r"model\.safetensors: not a VELOCITY-ASR model"):
        export_target("onnx", replace(trained, weights=tmp_path / "model.safetensors"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
