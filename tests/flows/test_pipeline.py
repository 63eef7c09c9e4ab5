"""The flow over toy DVC projects, under a real Prefect server with a database of its own."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from prefect.artifacts import Artifact

from flows import pipeline as module
from flows.dvc_commands import StageFailed
from flows.pipeline import Outcome, pipeline
from flows.processes import locked, running

pytestmark = pytest.mark.slow

# The stages stand in the opposite of their order; each leaves its name in ran.txt, which DVC knows nothing of.
PROJECT = r"""
stages:
  join:
    cmd:
      - echo join >> ran.txt
      - cat copy-x.txt copy-y.txt > joined.txt
      - 'echo "{\"wer\": 0.5}" > metrics.json'
    deps: [copy-x.txt, copy-y.txt]
    outs: [joined.txt]
    metrics:
      - metrics.json: {cache: false}
  copy:
    foreach: [x, y]
    do:
      cmd: echo copy@${item} >> ran.txt && cp fetched.txt copy-${item}.txt
      deps: [fetched.txt]
      outs: ["copy-${item}.txt"]
  fetch:
    cmd: echo fetch >> ran.txt && cp source.txt fetched.txt
    deps: [source.txt]
    outs: [fetched.txt]
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "project"
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True, cwd=folder)
    (folder / "source.txt").write_text("one\n")
    (folder / "dvc.yaml").write_text(PROJECT)
    return folder


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    folder = shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def ran() -> list[str]:
    return Path("ran.txt").read_text().split() if Path("ran.txt").exists() else []


def in_order(stages: list[str]) -> list[str]:
    """The two copies, which run at the same time, in the order of their names."""
    return [*stages[:1], *sorted(stages[1:3]), *stages[3:]]


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.stage: outcome.state for outcome in outcomes}


def test_every_stage_runs_after_those_it_depends_on_and_then_none(project, capfd):
    everything = ["fetch", "copy@x", "copy@y", "join"]
    assert states(pipeline()) == dict.fromkeys(everything, "ran")
    assert in_order(ran()) == everything
    assert Path("joined.txt").read_text() == "one\none\n"
    assert {"file": "metrics.json", "metric": "wer", "value": 0.5} in json.loads(Artifact.get("metrics").data)

    assert states(pipeline()) == dict.fromkeys(everything, "up to date")
    assert len(ran()) == 4

    Path("source.txt").write_text("two\n")
    assert states(pipeline(["copy@x"])) == {"fetch": "ran", "copy@x": "ran"}
    assert ran()[4:] == ["fetch", "copy@x"]

    Path("source.txt").write_text("one\n")
    assert states(pipeline(["copy@x"])) == {"fetch": "restored", "copy@x": "restored"}
    assert "restored" in capfd.readouterr().out


def test_independent_stages_run_at_the_same_time(project, monkeypatch):
    """Each of the two copies waits for the other one to start."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    waits = "while [ $(grep -c copy ran.txt) -lt 2 ]; do sleep 0.05; done"
    break_stage("echo copy@${item} >> ran.txt", f"echo copy@${{item}} >> ran.txt && {waits}")
    assert set(states(pipeline()).values()) == {"ran"}
    assert sorted(ran()[1:3]) == ["copy@x", "copy@y"]


def test_what_runs_beside_a_failing_stage_comes_to_its_end(project, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    fails = "if [ ${item} = x ]; then exit 2; fi; sleep 2 && cp fetched.txt copy-${item}.txt"
    break_stage("cp fetched.txt copy-${item}.txt", fails)
    with pytest.raises(StageFailed, match=r"^stage copy@x failed"):
        pipeline()
    assert Path("copy-y.txt").read_text() == "one\n"
    assert "join" not in ran()
    break_stage(fails, "cp fetched.txt copy-${item}.txt")
    assert states(pipeline())["fetch"] == "up to date"


def test_an_interrupt_ends_every_running_stage(project):
    """SIGTERM to the flow: both copies end, and neither is tried again."""
    hang = "echo copy@${item} >> ran.txt && sleep 600"
    break_stage("echo copy@${item} >> ran.txt", hang)
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[1])}
    script = "import flows.pipeline as p, typer; p.AT_ONCE = 2; p.TRIES['copy'] = [0]; typer.run(p.main)"
    flow = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    while len(ran()) < 3:
        assert flow.poll() is None
        time.sleep(0.05)
    sleeping = [child for child in psutil.Process(flow.pid).children(recursive=True) if child.name() == "sleep"]
    assert len(sleeping) == 2
    flow.terminate()
    assert flow.wait() == 128 + signal.SIGTERM, flow.stderr.read()
    assert not psutil.wait_procs(sleeping, timeout=60)[1]
    assert sorted(ran()) == ["copy@x", "copy@y", "fetch"]


def test_force_runs_what_is_up_to_date(project):
    pipeline(["fetch"])
    assert states(pipeline(["fetch"], force=True)) == {"fetch": "ran"}
    assert ran() == ["fetch", "fetch"]


def test_a_failing_stage_stops_the_flow_and_is_named_with_its_own_last_words(project, capfd):
    break_stage("cp fetched.txt copy-${item}.txt", "echo 'error - data.txt is empty' && exit 2")
    with pytest.raises(StageFailed, match=r"^stage copy@x failed: error - data.txt is empty$") as caught:
        pipeline()
    assert caught.value.status == 2
    assert "join" not in ran()
    assert "fetch" in capfd.readouterr().out


def test_fetching_is_tried_again_but_not_after_a_mistake_of_the_user(project, monkeypatch):
    assert {stage: len(delays) for stage, delays in module.TRIES.items()} == {"fetch": 2, "pretrain": 1, "finetune": 1}
    monkeypatch.setitem(module.TRIES, "fetch", [0, 0])
    break_stage("cp source.txt fetched.txt", "test $(wc -l < ran.txt) -gt 1 && cp source.txt fetched.txt")
    assert states(pipeline(["fetch"])) == {"fetch": "ran"}
    assert ran() == ["fetch", "fetch"]

    break_stage("test $(wc -l < ran.txt) -gt 1 && cp source.txt fetched.txt", "exit 2")
    with pytest.raises(StageFailed):
        pipeline(["fetch"])
    assert ran() == ["fetch"] * 3


def break_stage(command: str, replacement: str) -> None:
    text = Path("dvc.yaml").read_text()
    assert command in text
    Path("dvc.yaml").write_text(text.replace(command, replacement))


def test_a_second_pipeline_waits_for_the_first(project, second_waits):
    assert second_waits(lambda: locked(module.LOCK, "Another pipeline is running")) == ["first", "second"]


PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; print(1); time.sleep(600)'])"


def nobody_is_left(group: int) -> bool:
    """Whether all processes of the group have ended, or do so within a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        members = [member.info["status"] for member in psutil.process_iter(["pid", "status"]) if of(group, member)]
        if not set(members) - {psutil.STATUS_ZOMBIE}:
            return True
        time.sleep(0.05)
    return False


def of(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def test_an_interrupted_stage_takes_its_children_with_it(project):
    def interrupted() -> None:
        with running([sys.executable, "-u", "-c", PARENT]) as process:
            groups.append(process)
            process.stdout.readline()  # of the child
            raise KeyboardInterrupt

    groups: list[subprocess.Popen] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (process,) = groups
    assert process.returncode == -signal.SIGTERM
    assert nobody_is_left(process.pid)


def test_what_a_killed_dvc_started_ends_with_it(project):
    with running([sys.executable, "-u", "-c", PARENT]) as process:
        process.stdout.readline()
        process.kill()
        assert process.stdout.read() == ""  # the child had the other end
    assert process.returncode == -signal.SIGKILL
    assert nobody_is_left(process.pid)


def test_a_stage_whose_flow_was_killed_is_waited_for(project):
    """The lock passes through DVC, which closes every file but the standard three, to its stage."""
    break_stage("echo fetch >> ran.txt &&", "echo fetch >> ran.txt && while [ ! -e go ]; do sleep 0.05; done &&")
    program = "from flows.pipeline import LOCK, locked; from flows.processes import running; import sys\n"
    program += (
        "with locked(LOCK, '') as lock, running([sys.executable, '-m', 'dvc', 'repro', 'fetch'], lock): print(1); "
    )
    program += "sys.stdout.flush(); import time; time.sleep(600)"
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[1])}
    flow = subprocess.Popen([sys.executable, "-c", program], env=environment)
    while not ran():
        time.sleep(0.05)
    dvc = psutil.Process(flow.pid).children()[0]
    stage = dvc.children()[0]
    for killed in (flow, dvc):
        killed.kill()
    flow.wait()
    with open(module.LOCK) as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    Path("go").touch()
    psutil.wait_procs([stage])
    with open(module.LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
