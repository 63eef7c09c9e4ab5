"""What an artefact says of where it comes from: right, the same everywhere, and nothing where nothing is known."""

import json
import os
import subprocess
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from tests.model.test_asr import small
from velocity.artefacts.description import describe, labels, project_provenance
from velocity.artefacts.target import export_target
from velocity.artefacts.trained import Trained, folder_model
from velocity.errors import VelocityError
from velocity.model.asr import save_model
from velocity.text import train_tokenizer

WEIGHTS = Path("models/finetuned.safetensors")
RAW, PREPARED = "aa.dir", "bb.dir"


def git(*arguments: str) -> str:
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, env=os.environ | identity)
    return done.stdout.strip()


def commit(path: str, text: str) -> str:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
    git("add", path)
    git("commit", "-qm", text)
    return git("rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Weights that dvc.lock says are made by code/train.py from prepared data, and those by code/prepare.py."""
    monkeypatch.chdir(tmp_path)
    for name in ("models", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / WEIGHTS).write_bytes(b"weights")
    made = md5(b"weights").hexdigest()
    stage = lambda deps, outs, **params: {  # noqa: E731
        "params": {"params.yaml": params},
        "deps": [{"path": path} for path in deps],
        "outs": [{"path": path, "md5": digest} for path, digest in outs.items()],
    }
    stages = {
        "fetch@a": stage(["code/fetch.py"], {"data/raw/a": RAW}),
        "prepare": stage(["code/prepare.py", "data/raw"], {"data/prepared": PREPARED}),
        "finetune": stage(["code/train.py", "data/prepared/train.jsonl"], {str(WEIGHTS): made}, seed=1),
        "evaluate": stage(["code/evaluate.py", str(WEIGHTS)], {"reports/metrics.json": "cc"}, worst=3),
    }
    with open("dvc.lock", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump({"stages": stages}, file)
    return tmp_path


def test_outside_git_no_commit_is_named(project):
    told = project_provenance(WEIGHTS)
    assert told["training_commit"] is None
    read = sha256(b'{"seed": 1}').hexdigest()
    assert told["parameters"] == f"sha256:{read}", "of the stages before the weights"
    assert told["data"] == {"data/prepared": PREPARED, "data/raw/a": RAW}


def test_the_commit_is_the_last_that_touched_what_the_weights_are_made_from(project):
    git("init", "-q")
    for name in ("fetch", "prepare", "train", "evaluate"):
        last = commit(f"code/{name}.py", name)
        if name == "train":
            trained = last
    known = lambda: project_provenance(WEIGHTS)["training_commit"]  # noqa: E731
    assert known() == trained, "code that only measures came later"
    prepared = commit("code/prepare.py", "# otherwise")
    assert known() == prepared
    (project / "code/evaluate.py").write_text("changed")
    assert known() == prepared
    (project / "code/train.py").write_text("changed")
    assert known() == f"{prepared}+uncommitted"
    (project / WEIGHTS).write_bytes(b"others")
    assert project_provenance(WEIGHTS) == {
        "training_commit": None,
        "parameters": None,
        "data": {},
    }, "dvc.lock knows other weights"


def test_a_clone_without_history_names_no_commit(project, tmp_path, monkeypatch):
    git("init", "-q")
    for name in ("fetch", "prepare", "train"):
        commit(f"code/{name}.py", name)
    git("add", "-f", "dvc.lock", str(WEIGHTS))
    git("commit", "-qm", "all")
    for depth, known in ((["--depth", "1"], False), ([], True)):
        git("clone", "-q", *depth, f"file://{project}", str(tmp_path / f"clone{known}"))
        monkeypatch.chdir(tmp_path / f"clone{known}")
        assert bool(project_provenance(WEIGHTS)["training_commit"]) == known
        monkeypatch.chdir(project)


@pytest.fixture
def trained(tmp_path) -> Trained:
    torch.manual_seed(0)
    folder = tmp_path / "toy"
    folder.mkdir()
    train_tokenizer([], "characters", 30, folder / "tokenizer.model")
    save_model(small(blocks=1), folder / "model.safetensors")
    return folder_model(folder)


def test_a_folder_says_what_it_knows_and_no_more(trained):
    told = describe(trained, "onnx")
    assert told["licence"] is None
    assert set(told["provenance"]) == {"weights"}
    known = {"training_commit": "c0ffee", "data": {"data/prepared": PREPARED}}
    (trained.weights.parent / "config.json").write_text(json.dumps({"licence": "CC0-1.0", "provenance": known}))
    told = describe(folder_model(trained.weights.parent), "onnx")
    assert told["licence"] == "CC0-1.0"
    assert told["provenance"] == known | {"weights": told["provenance"]["weights"]}


def test_labels_are_texts_and_hold_the_classes_nothing_of_where_and_when(trained, tmp_path):
    told = labels(trained, "tflite")
    assert all(isinstance(value, str) for value in told.values())
    assert told["target"] == "tflite"
    classes = json.loads(told["classes"])
    assert len(classes) == 30
    assert {"a", "z", " ", ""} <= set(classes)
    assert str(tmp_path) not in json.dumps(told)


def test_a_target_that_takes_no_samples_says_which_do(trained, tmp_path):
    with pytest.raises(VelocityError, match="onnx-streaming: takes log-mel features only; of samples there are onnx, "):
        export_target("onnx-streaming", replace(trained, input="waveform"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_target_says_what_it_is_for_and_is_made_from_another():
    for name, target in TARGETS.items():
        assert target.about, name
        assert target.made_from is None or target.made_from in TARGETS
