"""What a version says it was made from: a project of two stages under git, changed and cloned."""

import json
import subprocess
from pathlib import Path

import pytest

from velocity.registry.provenance import provenance

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
MODEL = Path("model.bin")


def git(*arguments: str) -> str:
    return subprocess.run([*GIT, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def lock(steps: int = 1, speech: str = "aaaa.dir") -> None:
    stages = {
        "prepare": {"deps": [{"path": "prepare.py"}], "outs": [{"path": "prepared", "md5": speech}]},
        "finetune": {
            "deps": [{"path": "finetune.py"}, {"path": "prepared/train.jsonl"}],
            "params": {"params.yaml": {"steps": steps}},
            "outs": [{"path": str(MODEL), "md5": "bbbb"}],
        },
        "report": {
            "deps": [{"path": "report.py"}, {"path": str(MODEL)}],
            "params": {"params.yaml": {"title": "x"}},
            "outs": [{"path": "report.md", "md5": "cccc"}],
        },
    }
    Path("dvc.lock").write_text(json.dumps({"stages": stages}))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("prepare.py", "finetune.py", "report.py"):
        Path(name).write_text("1")
    lock()
    git("init", "--quiet")
    commit("start")
    return folder


def commit(message: str) -> str:
    git("add", ".")
    git("commit", "--quiet", "--message", message)
    return git("rev-parse", "HEAD")


def test_the_commit_is_the_last_one_that_changed_code_of_the_model(project):
    start = git("rev-parse", "HEAD")
    Path("report.py").write_text("2")
    commit("a report")
    assert provenance(MODEL)["commit"] == start
    Path("prepare.py").write_text("2")
    assert provenance(MODEL)["commit"] == f"{start}+uncommitted"
    assert commit("prepared otherwise") == provenance(MODEL)["commit"]


def test_parameters_and_data_are_those_on_the_way_to_the_model(project):
    first = provenance(MODEL)
    assert first["data"] == {"prepared": "aaaa.dir"}
    lock(steps=2)
    assert provenance(MODEL)["parameters"] != first["parameters"]
    lock(speech="dddd.dir")
    assert provenance(MODEL) == first | {"data": {"prepared": "dddd.dir"}}


def test_without_the_history_no_commit_is_named(project, tmp_path, monkeypatch):
    before = provenance(MODEL)
    Path("report.py").write_text("2")
    commit("a report")
    git("clone", "--quiet", "--depth", "1", project.as_uri(), str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    assert provenance(MODEL) == before | {"commit": None}
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare")
    lock()
    assert provenance(MODEL) == before | {"commit": None}
