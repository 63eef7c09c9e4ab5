"""Bytes that change in DVC's cache are never trained on, and come again by the same command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from velocity import integrity
from velocity.errors import VelocityError
from velocity.files import dvc_hash
from velocity.project import stage_inputs

ROOT = Path(__file__).parents[1]
# `train` reads a folder and a file that other stages wrote; what it has read is its output.
PROJECT = """
stages:
  prepare: {cmd: mkdir -p data && echo one > data/a.txt && echo two > data/b.txt, deps: [source.txt], outs: [data]}
  weights: {cmd: echo good > weights.bin, deps: [source.txt], outs: [weights.bin]}
  train: {cmd: python train.py, params: [round], deps: [data/a.txt, weights.bin], outs: [trained.txt]}
"""
TRAIN = """
import os
from pathlib import Path
from velocity.integrity import check_inputs
check_inputs(os.environ["DVC_STAGE"])
Path("trained.txt").write_text(Path("data/a.txt").read_text() + Path("weights.bin").read_text())
"""


def repro(folder: Path) -> subprocess.CompletedProcess[str]:
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dvc", "repro"]
    return subprocess.run(command, cwd=folder, env=os.environ | own, capture_output=True, text=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in {"dvc.yaml": PROJECT, "train.py": TRAIN, "params.yaml": "round: 1\n", "source.txt": ""}.items():
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q"], check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, cwd=folder)
    assert repro(folder).returncode == 0
    return folder


@pytest.fixture
def project(built, monkeypatch) -> Path:
    """The same for all tests here: each leaves it up to date."""
    monkeypatch.chdir(built)
    return built


def spoil(folder: Path, good: str) -> None:
    """Other bytes of the same size and time in the cache's copy of ``good``; DVC has to take it out of there next."""
    (file,) = [path for path in (folder / ".dvc/cache/files").rglob("*") if path.is_file() and path.read_text() == good]
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.chmod(0o644)
    file.write_text("x" * (len(good) - 1) + "\n")
    os.utime(file, ns=times)
    file.chmod(0o444)


def test_an_input_is_not_hashed_again_until_it_is_touched(project, monkeypatch):
    hashed = []
    monkeypatch.setattr(integrity, "dvc_hash", lambda path: hashed.append(str(path)) or dvc_hash(path))
    integrity.check_inputs("train")
    assert hashed == []  # the stage itself has just done it
    Path("weights.bin").chmod(0o644)
    Path("weights.bin").write_text("mine\n")
    with pytest.raises(VelocityError, match=r"differs from what weights wrote \(dvc\.lock\); removed 0 damaged"):
        integrity.check_inputs("train")
    Path("weights.bin").write_text("good\n")
    hashed.clear()
    integrity.check_inputs("train")
    assert hashed == ["weights.bin"]


@pytest.mark.parametrize(("out", "good"), [("data", "one\n"), ("weights.bin", "good\n")])
def test_a_damaged_cache_is_found_before_the_training_and_mended_by_the_next_run(project, out, good):
    spoil(project, good)
    shutil.rmtree(project / out) if out == "data" else (project / out).unlink()
    Path("params.yaml").write_text(f"round: {out}\n")
    refused = repro(project)
    assert refused.returncode != 0
    assert f"{out}: differs from what {'prepare' if out == 'data' else 'weights'} wrote" in refused.stderr
    assert "removed 1 damaged files from DVC's cache" in refused.stderr
    assert not Path("trained.txt").exists()  # DVC has removed the old one, and there is none of the damaged input
    mended = repro(project)
    assert mended.returncode == 0, mended.stderr
    assert Path("trained.txt").read_text() == "one\ngood\n"


def test_inputs_of_a_foreach_stage_are_those_of_its_item(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    left = {"finetune": "models/finetuned.safetensors", "export@onnx": "models/export/onnx", "prepare": "data/prepared"}
    stages = {name: {"outs": [{"path": path, "md5": name}]} for name, path in left.items()}
    YAML().dump({"stages": stages}, Path("dvc.lock"))
    read = {str(path): writer for path, (writer, _) in stage_inputs("export@onnx-int8").items()}
    assert read == {path: name for name, path in left.items()}
    assert "models/export/onnx" not in map(str, stage_inputs("export@onnx"))


@given(st.dictionaries(st.sampled_from(["a", "b/a", "b/é.x", "c/ d/e"]), st.binary(max_size=20), min_size=1))
def test_the_hash_of_a_folder_is_dvc_s(tmp_path_factory, content):
    from dvc_data.hashfile.hash import hash_file
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.fs.local import LocalFileSystem

    folder, fs, tree = tmp_path_factory.mktemp("out"), LocalFileSystem(), Tree()
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        tree.add(tuple(name.split("/")), *hash_file(str(folder / name), fs, "md5"))
    tree.digest()
    assert dvc_hash(folder) == tree.hash_info.value
