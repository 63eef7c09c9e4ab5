"""``velocity-asr gate`` and ``compare`` with real models in real processes: a faulty, a slow and an equal candidate."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import helper, numpy_helper

from tests.command import run
from tests.tone_model import deafen, speak, write_model
from velocity.audio import SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.gate.facts import read_parity

WORDS = ["one", "two", "six", "ten", "lamp", "off"]
UTTERANCES = 200


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Models and a test set: 200 utterances of two words, cuts of one recording."""
    folder = tmp_path_factory.mktemp("gate")
    champion = write_model(folder / "champion")
    write_model(folder / "same", gain=2.0)
    deafen(write_model(folder / "faulty"), "f")
    write_slow(champion, folder / "slow")
    spoken = [f"{WORDS[index % 6]} {WORDS[index % 5]}" for index in range(UTTERANCES)]
    pieces = [speak(text, champion) for text in spoken]
    soundfile.write(folder / "speech.wav", np.concatenate(pieces), SAMPLE_RATE)
    starts = np.cumsum([0, *map(len, pieces)]) / SAMPLE_RATE
    with open(folder / "a-test.jsonl", "w") as file:
        for index, (text, piece) in enumerate(zip(spoken, pieces, strict=True)):
            source = {"sources": [{"source": str(folder / "speech.wav")}]}
            cut = {"id": f"{index:03}", "start": starts[index], "duration": len(piece) / SAMPLE_RATE}
            print(json.dumps(cut | {"recording": source, "supervisions": [{"text": text}]}), file=file)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Where no params.yaml is: the gate's own limits."""
    monkeypatch.chdir(tmp_path)


def write_slow(model: Path, folder: Path) -> None:
    """The same words after hundreds of products that change nothing."""
    shutil.copytree(model, folder)
    proto = onnx.load(folder / "model.onnx")
    mirror = np.eye(80, dtype=np.float32)[::-1].copy()
    proto.graph.initializer.append(numpy_helper.from_array(mirror, "mirror"))
    names = ["frames", *(f"turned{index}" for index in range(200))]
    for node in proto.graph.node:
        node.input[:] = [names[-1] if name == "frames" else name for name in node.input]
    turns = [helper.make_node("MatMul", [a, "mirror"], [b]) for a, b in pairwise(names)]
    for node in reversed(turns):
        proto.graph.node.insert(1, node)
    onnx.save(proto, folder / "model.onnx")


def gate(capsys, project: Path, candidate: str, *more: str, test_set: str = "a-test") -> tuple[int, dict, str]:
    models = ("--candidate", project / candidate, "--champion", project / "champion")
    status, out, err = run(capsys, "gate", *models, "--test_set", project / f"{test_set}.jsonl", "--json", *more)
    return status, json.loads(out), err


def verdicts(result: dict) -> dict[str, str]:
    return {row["metric"]: row["verdict"] for row in result["rows"]}


@pytest.mark.slow
def test_an_equal_model_passes(project, capsys):
    table = project / "table.md"
    status, result, _ = gate(capsys, project, "same", "--markdown", str(table), "--rtf-tolerance", "100")
    assert (status, result["verdict"], set(verdicts(result).values())) == (0, "pass", {"pass"})
    assert result["rows"][0]["champion"] == result["rows"][0]["candidate"] == 0.0
    assert table.read_text().startswith("**Pass**")


def test_a_model_with_more_errors_is_refused(project, capsys):
    status, result, _ = gate(capsys, project, "faulty", "--rtf-tolerance", "100")
    assert (status, result["verdict"]) == (1, "regression")
    assert verdicts(result)["WER on a-test"] == "regression"
    assert verdicts(result)["real-time factor, 1 thread"] == "pass"
    assert result["reasons"][0].startswith("WER on a-test: worse by ")


@pytest.mark.slow
def test_a_slow_model_is_refused(project, capsys):
    status, result, _ = gate(capsys, project, "slow")
    assert (status, result["verdict"]) == (1, "regression")
    assert verdicts(result)["WER on a-test"] == "pass"
    assert verdicts(result)["real-time factor, 1 thread"] == "regression"


def test_bad_input_is_not_a_verdict(project, capsys):
    for candidate, test_set, more, reason in (
        ("nowhere", "a-test", [], "no such model folder"),
        ("same", "nowhere", [], "neither a folder"),
        ("same", "a-test", ["--tolerance", "5"], "wer_detectable must be more than wer_tolerance"),
        ("same", "a-test", ["--rtf-tolerance", "0.5"], "greater than or equal to 1"),
    ):
        status, result, err = gate(capsys, project, candidate, *more, test_set=test_set)
        assert (status, result["verdict"]) == (2, "invalid")
        assert reason in result["reasons"][0]
        assert err.splitlines()[-1] == f"error: {result['reasons'][0]}"


def test_parity_is_read_where_the_project_keeps_it(project, tmp_path):
    folder, metrics = tmp_path / "models/export/onnx-int8", tmp_path / "reports/metrics.json"
    shutil.copytree(project / "same", folder)
    assert read_parity(folder) is None
    metrics.parent.mkdir()
    metrics.write_text('{"parity": {"onnx-int8": {"failed": []}, "coreml": {"failed": ["off by 3"]}}}')
    assert read_parity(folder) == [], "an artefact that is not there is not released"
    shutil.copytree(folder, folder.with_name("coreml"))
    assert read_parity(folder) == ["coreml: off by 3"]
    metrics.write_text('{"parity": {"onnx": {"failed": []}}}')
    assert read_parity(folder) is None
    metrics.write_text("[]")
    with pytest.raises(VelocityError, match=r"metrics\.json: not the metrics of an evaluation"):
        read_parity(folder)


def test_the_comparison_names_the_utterances(project, tmp_path, capsys):
    options = ("--test-set", project / "a-test.jsonl", "--out", tmp_path)
    status, out, _ = run(capsys, "compare", project / "champion", project / "faulty", *options)
    assert status == 0
    assert out == (tmp_path / "comparison.md").read_text()
    result = json.loads((tmp_path / "comparison.json").read_text())["test_sets"]["a-test"]
    spoken = {entry["reference"] for entry in result["worse"]}
    assert spoken == {f"{WORDS[i % 6]} {WORDS[i % 5]}" for i in range(UTTERANCES) if 5 in (i % 6, i % 5)}
    assert all(entry["first"] == entry["reference"] != entry["second"] for entry in result["worse"])
    assert (result["better"], result["wer"]["first"], result["significant"]) == ([], 0.0, True)
    assert result["difference"] == pytest.approx(len(result["worse"]) / result["words"], abs=1e-6)
    assert f"And {len(result['worse']) - 20} more." in out
