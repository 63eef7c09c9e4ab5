"""The drill: a scheduled retraining that promotes, refuses bad data, keeps the champion, is killed and goes on; a
rollback. With a Prefect server and an MLflow store of its own, real speech of a synthesiser and real training."""

import shutil
import signal
import subprocess

import pytest

from flows.retrain import WORKSPACE
from flows.services import Services
from tests.flows.drill import STEPS, TOO_FEW, Drill, wait_until
from velocity.registry import Champions

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]


@pytest.fixture(scope="session", autouse=True)
def prefect_server():
    """The drill's own serves all of it."""


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drill")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Services(folder / "logs") as running:
            drill = Drill(folder / "project", running)
            drill.make(TOO_FEW)
            drill.start()
            yield drill
    finally:
        for number, handler in handlers.items():  # which Services ignores from its end on
            signal.signal(number, handler)


def test_the_first_model_becomes_the_champion_on_schedule(drill):
    run = drill.wait_for("Promoted", after=set())
    assert run.auto_scheduled
    assert drill.registry.champions() == Champions("1", None, None)
    assert [path.name for path in (drill.folder / "models").iterdir()] == ["random.safetensors"], "as it was"


def test_new_data_is_trained_on_although_killed_and_the_better_model_promoted(drill):
    with drill.between_runs():
        before = drill.ended()
        drill.deliver("second")
        drill.commit("more speech, to be trained on for longer", STEPS)
    checkpoints = drill.folder / WORKSPACE / "models/checkpoints/finetune"
    wait_until(lambda: list(checkpoints.glob("0*/state.json")), "a checkpoint of the second training")
    drill.kill_run()
    run = drill.wait_for("Promoted", after=before, beside=("Nothing new", "Crashed"))
    assert run.auto_scheduled
    assert "goes on from the checkpoint after step" in drill.log(whole=True)
    assert drill.registry.champions() == Champions("2", "1", None)
    wer = [float(drill.registry.tags(version)["wer/digits-test"]) for version in ("1", "2")]
    assert wer[1] < wer[0] / 2, "what was promoted is better"


def test_bad_data_is_refused_and_the_champion_untouched(drill):
    with drill.between_runs():
        before = drill.ended()
        (drill.deliver("bad", ["m1"]) / "m1/m1-0000.flac").write_bytes(b"not a sound")
    run = drill.wait_for("Failed", after=before)
    assert "stage validate failed: " in run.state.message
    assert "m1-0000.flac" in run.state.message
    assert drill.registry.champions() == Champions("2", "1", None)
    assert set(drill.versions()) == {"1", "2"}


def test_a_worse_model_stays_the_challenger_although_killed_before_the_gate(drill):
    with drill.between_runs():
        before = drill.ended()
        shutil.rmtree(drill.folder / "speech/bad")
        drill.commit("a training that is too short", TOO_FEW)
    wait_until(lambda: drill.registry.champions().challenger == "3", "a third version")
    drill.kill_run()
    assert drill.registry.champions() == Champions("2", "1", "3")
    run = drill.wait_for("Kept the champion", after=before, beside=("Nothing new", "Failed", "Crashed"))
    assert "WER on digits-test: worse by" in run.state.message
    assert drill.registry.champions() == Champions("2", "1", "3")
    assert drill.versions() == {"1": "pass", "2": "pass", "3": "regression"}


def test_a_rollback_stands_when_the_schedule_fires_again(drill):
    drill.run("python", "-m", "flows.rollback", "--leaving", "2")
    assert drill.registry.champions() == Champions("1", None, "3")
    drill.wait_for("Nothing new", after=drill.ended(), beside=())
    assert drill.registry.champions() == Champions("1", None, "3")
    experiments = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=drill.folder, capture_output=True, text=True)
    assert len(experiments.stdout.splitlines()) == 3
