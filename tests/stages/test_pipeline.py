"""All ten stages in two workspaces of their own: what DVC is promised, and what a kill may not change."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
MEASURED = {"benchmark", "report"}  # stages whose outputs hold measured times
pytestmark = pytest.mark.slow


def workspace(folder: Path) -> Path:
    """A git and DVC project with this checkout's pipeline and a tiny profile: 150 utterances, a few training steps.

    Without the artefacts for phones, whose converters take longer to load than all the rest to run.
    """
    folder.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "velocity", folder / "velocity", ignore=ignore)
    for name in (".gitignore", "data/.gitignore", "data/accepted.json", "models/random.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    yaml = YAML()
    stages = yaml.load(ROOT / "dvc.yaml")
    targets = stages["stages"]["export"]["foreach"]
    stages["stages"]["export"]["foreach"] = {name: targets[name] for name in ("onnx", "onnx-int8", "web")}
    yaml.dump(stages, folder / "dvc.yaml")
    params = yaml.load(ROOT / "params.yaml")
    params["corpora"]["synthetic"].update(utterances=150, voices=40)
    params["model"].update(
        dim=32, blocks=1, half_rate=0, state=8, head_dim=16, ffn=32, context_layers=1, context_state=8
    )
    params["model"].update(attention_heads=2, attention_head_dim=8)
    params["pretrain"]["optimisation"].update(steps=4, checkpoint_every=2, validate_every=4, batch_seconds=20)
    params["finetune"]["optimisation"].update(
        devices=1, steps=24, checkpoint_every=2, validate_every=24, batch_seconds=20
    )
    params["calibrate"]["utterances"] = 10
    params["evaluate"].update(bootstrap=50, worst=3)
    params["benchmark"].update(repeats=2, lengths=[1.0, 3.0])
    yaml.dump(params, folder / "params.yaml")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "."]):
        run(folder, *command)
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    return folder


def environment(folder: Path) -> dict[str, str]:
    here = str(Path(sys.executable).parent)  # the stages run as `python`: this one
    own = {"PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(folder), "VELOCITY_TRACKING": "off"}
    return {**os.environ, **own, "GOMP_SPINCOUNT": "1000"}  # threads that wait leave the cores to the other run


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(folder), text=True, capture_output=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def lock(folder: Path) -> dict:
    return YAML(typ="safe").load(folder / "dvc.lock")["stages"]


def undisturbed_run(folder: Path) -> Path:
    workspace(folder)
    run(folder, "dvc", "repro", "-q")
    return folder


def killed_run(folder: Path) -> Path:
    """All stages whose outputs hold no times; ``finetune`` is killed after its first checkpoint, then goes on."""
    workspace(folder)
    run(folder, "dvc", "repro", "-q", "pretrain")
    killed = subprocess.Popen(
        [sys.executable, "-m", "velocity.stages.finetune"], cwd=folder, env=environment(folder),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = folder / "models/checkpoints/finetune"
    while not list(checkpoints.glob("0*/state.json")) and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    assert not (folder / "models/finetuned.safetensors").exists()
    assert "goes on from the checkpoint after step" in run(folder, "dvc", "repro", "finetune")
    run(folder, "dvc", "repro", "-q", "evaluate")
    return folder


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory) -> tuple[Path, Path]:
    """The undisturbed and the killed run, side by side: most of their time is a single thread that imports."""
    folder = tmp_path_factory.mktemp("pipeline")
    with ThreadPoolExecutor(2) as pool:
        runs = pool.submit(undisturbed_run, folder / "first"), pool.submit(killed_run, folder / "second")
    return runs[0].result(), runs[1].result()


@pytest.fixture(scope="module")
def finished(workspaces) -> Path:
    return workspaces[0]


@pytest.mark.timeout(900)
def test_every_stage_leaves_what_it_promises(finished):
    metrics = json.loads((finished / "reports/metrics.json").read_text())
    scores = metrics["test_sets"]["synthetic-test"]
    assert set(scores) == {"onnx", "onnx-int8"}
    assert metrics["parity"].keys() == {*scores, "web"}
    for score in scores.values():
        assert score["wer_ci95"][0] <= score["wer"] <= score["wer_ci95"][1]
        assert score["utterances"] > 0
    assert metrics["params"] == json.loads((finished / "reports/finetune.json").read_text())["parameters"]
    benchmark = json.loads((finished / "reports/benchmark.json").read_text())["artefacts"]
    assert benchmark.keys() == metrics["parity"].keys()
    for target, artefact in benchmark.items():
        if target == "web":
            assert set(artefact) == {"bytes", "folder_bytes"}, "a page, which runs in browsers alone"
            continue
        assert artefact["bytes"] == (finished / "models/export" / target / "model.onnx").stat().st_size
        assert artefact["rtf_1thread"] > 0
        assert artefact["peak_rss_bytes"] > 1e7
        assert [seconds for seconds, _ in artefact["scaling"]] == [1.0, 3.0]
    assert benchmark["onnx-int8"]["bytes"] < benchmark["onnx"]["bytes"]
    assert "synthetic" in (finished / "reports/README.md").read_text().lower()
    assert "synthetic" in (finished / "reports/MODEL_CARD.md").read_text().lower()
    assert (finished / "reports/validation/data_docs/index.html").exists()
    assert not (finished / "models/checkpoints/finetune").exists()


@pytest.mark.timeout(900)
def test_a_second_repro_runs_nothing(finished):
    before = (finished / "dvc.lock").read_bytes()
    assert "Running stage" not in run(finished, "dvc", "repro")
    assert (finished / "dvc.lock").read_bytes() == before


@pytest.mark.timeout(900)
def test_a_killed_run_in_another_place_ends_in_the_same_bytes(workspaces):
    expected, found = (lock(folder) for folder in workspaces)
    assert set(found) == set(expected) - MEASURED
    for stage in found:
        assert found[stage] == expected[stage], stage
