"""flows.dvc_commands over a small real project, and what it reads out of DVC's lines."""

import subprocess
import sys
from pathlib import Path

import pytest

import flows.ci
import flows.fanout
import flows.pipeline
import flows.retrain
import flows.rollback
import flows.ui
from flows import ROOT, dvc_commands
from flows.ablate import room
from flows.comment import folded
from flows.dvc_commands import StageFailed, failure, read_line
from velocity.errors import VelocityError

PIPELINE = r"""
stages:
  join:
    cmd:
      - cat copy.txt copy.txt > joined.txt
      - 'echo "{\"wer\": 0.5}" > metrics.json'
    deps: [copy.txt]
    outs: [joined.txt]
    metrics: [{metrics.json: {cache: false}}]
  copy:
    cmd: cp source.txt copy.txt
    deps: [source.txt]
    outs: [copy.txt]
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dvc")
    subprocess.run(["git", "init", "-q"], check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, cwd=folder)
    (folder / "source.txt").write_text("one\n")
    (folder / "dvc.yaml").write_text(PIPELINE)
    return folder


@pytest.fixture
def project(template, monkeypatch) -> Path:
    monkeypatch.chdir(template)
    return template


def reproduce(*arguments: str) -> dict[str, str]:
    with dvc_commands.command("repro", *arguments, lock=subprocess.DEVNULL) as command:
        list(command)
    command.check("?")
    return command.stages


def test_a_project_is_brought_up_to_date(project):
    graph = dvc_commands.stage_graph([])
    assert graph == {"copy": set(), "join": {"copy"}}
    assert list(graph) == ["copy", "join"]
    assert dvc_commands.stage_graph(["copy"]) == {"copy": set()}
    assert sorted(dvc_commands.out_of_date()) == ["copy", "join"]
    assert reproduce() == {"copy": "ran", "join": "ran"}
    assert dvc_commands.out_of_date() == []
    assert reproduce() == {"copy": "up to date", "join": "up to date"}
    assert dvc_commands.metrics() == [{"file": "metrics.json", "metric": "wer", "value": 0.5}]
    Path("source.txt").write_text("two\n")
    reproduce()
    Path("source.txt").write_text("one\n")
    assert reproduce() == {"copy": "restored", "join": "restored"}
    assert dvc_commands.cache_folder() == project / ".dvc/cache"
    assert dvc_commands.default_remote() is None
    lock = Path("dvc.lock")
    lock.write_text(lock.read_text().rpartition("md5:")[0] + "m")  # as a kill may leave it
    dvc_commands.remove_damaged_lock(project)
    assert not lock.exists()


def test_failures_have_the_stages_own_words_and_status(project):
    Path("dvc.yaml").write_text(PIPELINE.replace("cp source.txt copy.txt", "'echo error: no speech && exit 2'"))
    with pytest.raises(StageFailed, match=r"^stage copy failed: no speech$") as caught:
        reproduce("--force")
    assert caught.value.status == 2
    Path("dvc.yaml").write_text(PIPELINE.replace("source.txt", "missing.txt"))
    with pytest.raises(StageFailed, match=r"missing\.txt") as caught:
        reproduce()
    assert caught.value.status is None
    with pytest.raises(VelocityError, match=r"^Stage 'nope' not found inside 'dvc\.yaml' file$"):
        dvc_commands.stage_graph(["nope"])
    Path("dvc.yaml").write_text(PIPELINE.replace("deps: [source.txt]", "deps: [joined.txt]"))
    with pytest.raises(VelocityError, match="both a dependency and an output in stages"):
        dvc_commands.stage_graph([])


@pytest.mark.parametrize(
    ("text", "stage", "state", "own"),
    [
        ("Running stage 'export@onnx':", "export@onnx", "ran", False),
        ("Stage 'fetch@a' is cached - skipping run, checking out outputs", "fetch@a", "restored", False),
        ("Stage 'copy' didn't change, skipping", "copy", "up to date", False),
        ("> python -m velocity.run finetune", None, None, False),
        ("Updating lock file 'dvc.lock'", None, None, False),
        ("finetune: 10/850  loss 3.1", None, None, True),
        ("ERROR: failed to reproduce 'copy'", None, None, True),
        ("WARNING: stage: 'fetch@a' is frozen. Its dependencies are not going to be reproduced.", None, None, True),
        ("WARNING: The following untracked files were present in the experiment directory", None, None, False),
        ("WARNING: 'data/validated/exclusions.jsonl' is empty.", None, None, False),  # nothing was left out
    ],
)
def test_lines_of_dvc(text, stage, state, own):
    line = read_line(text)
    assert (line.stage, line.state, line.own) == (stage, state, own)


def test_a_killed_dvc_is_named_by_its_signal():
    assert str(failure("copy", [], -9)) == "stage copy failed: DVC was killed by SIGKILL"


def test_the_projects_own_stages_come_in_the_order_of_the_design(monkeypatch):
    monkeypatch.chdir(ROOT)
    order = [
        "fetch",
        "validate",
        "prepare",
        "pretrain",
        "finetune",
        "calibrate",
        "export",
        "evaluate",
        "benchmark",
        "report",
    ]
    assert list(dict.fromkeys(name.split("@")[0] for name in dvc_commands.stage_graph([]))) == order


@pytest.mark.parametrize(
    ("waiting", "running", "started"),
    [
        ({"fetch@a": set(), "fetch@b": set(), "validate": {"fetch@a", "fetch@b"}}, set(), ["fetch@a", "fetch@b"]),
        ({"validate": {"fetch@a", "fetch@b"}}, {"fetch@b"}, []),
        ({"finetune": {"prepare"}, "pretrain": {"prepare"}}, set(), ["finetune"]),
        ({"benchmark": {"export@web"}}, {"report"}, []),
        ({"report": {"evaluate"}}, {"benchmark"}, []),
        ({name: set() for name in "abcd"}, {"e"}, ["a", "b"]),
    ],
)
def test_stages_start_when_what_they_need_is_there_and_trainings_alone(waiting, running, started, monkeypatch):
    monkeypatch.setattr(flows.pipeline, "AT_ONCE", 3)
    assert flows.pipeline.startable(waiting, running) == started


def test_a_comment_is_cut_to_what_fits():
    table = "\n".join(["| a |", "| --- |", *(f"| {row} |" for row in range(100))])
    assert "100 that differ" in folded(table)
    assert "And 40 more." in folded(table)


def test_there_is_always_room_for_one_row():
    assert room(10_000) == 1
