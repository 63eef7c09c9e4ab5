"""The flow over a toy project whose stages are quick, with the project's own parameters and profiles: what is run, what
is not run again, what a kill may not lose, and what a row that fails may not spoil."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.task_runners import ThreadPoolTaskRunner
from ruamel.yaml import YAML

from flows import ablate as module
from flows.ablate import ablate, record
from flows.rows import chosen_rows, load_definitions
from tests.tone_model import write_model
from velocity.config import parse_params
from velocity.errors import VelocityError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

STAGES = """
stages:
  finetune:
    cmd: python velocity/toy.py finetune
    params: [model, finetune]
    outs: [models/finetuned.txt]
    metrics:
      - reports/pretrain.json: {cache: false}
      - reports/finetune.json: {cache: false}
  evaluate:
    cmd: python velocity/toy.py evaluate
    params: [calibrate]
    deps: [models/finetuned.txt]
    outs: [data/prepared, models/export]
    metrics:
      - reports/metrics.json: {cache: false}
"""

# 40 utterances of 5 words. A model of 8 blocks has an error in 4 of them, one of 6 blocks in 20.
TOY = r"""
import json, os, shutil, signal, sys
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
log = Path(os.environ["TOY_LOG"])
say = lambda text: log.write_text(log.read_text() + text + "\n")

def write(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value))

def finetune():
    checkpoint = Path("models/checkpoints/step")
    blocks, steps = params["model"]["blocks"], params["finetune"]["optimisation"]["steps"]
    for step in range(int(checkpoint.read_text()) if checkpoint.exists() else 0, steps):
        say(f"{blocks} {step}")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(str(step + 1))
        if blocks == 6 and step == 2:
            os.killpg(0, signal.SIGKILL)  # DVC as well, as a machine that goes down
    Path("models/finetuned.txt").write_text(str(blocks))
    write("reports/finetune.json", {"audio_hours": 0.5})
    write("reports/pretrain.json", {"audio_hours": 0.25})

def evaluate():
    if params["calibrate"]["ranges"] == "minmax":
        sys.exit("error: calibrate.ranges: 'minmax' is not for toys")
    wrong = 4 if Path("models/finetuned.txt").read_text() == "8" else 20
    say("evaluate")
    Path("data/prepared").mkdir(parents=True, exist_ok=True)
    with open("data/prepared/test-toy.jsonl", "w") as file:
        for index in range(40):
            recording, said = {"sources": [{"source": "a.wav"}]}, [{"text": "one two three four five"}]
            cut = {"id": str(index), "recording": recording, "supervisions": said, "start": 0, "duration": 1}
            print(json.dumps(cut), file=file)
    for artefact in ("onnx", "onnx-int8"):
        shutil.copytree(os.environ["TOY_ARTEFACT"], f"models/export/{artefact}")
        errors = [{"id": str(index), "errors": 1} for index in range(wrong)]
        write(f"reports/errors/toy-test-{artefact}.json", {"errors": errors})
    rates = {"wer": wrong / 200}
    write("reports/metrics.json", {"params": 7, "test_sets": {"toy-test": {"onnx": rates, "onnx-int8": rates}}})

globals()[sys.argv[1]]()
"""

ROWS = {
    "baseline": "eight",
    "common": {
        "model": {"blocks": 8},
        "finetune": {"start_from": "pretrained", "optimisation": {"steps": 4}},
        "evaluate": {"bootstrap": 200},
    },
    "rows": {
        "broken": {"title": "fails in a stage", "overlay": {"calibrate": {"ranges": "minmax"}}},
        "six": {"title": "killed once", "overlay": {"model": {"blocks": 6}, "finetune": {"start_from": "random"}}},
        "eight": {"title": "the baseline"},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation") / "project"
    (folder / "velocity").mkdir(parents=True)
    for name in ("params.yaml", "profiles", "ablations.yaml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "velocity/toy.py").write_text(TOY)
    (folder / ".gitignore").write_text("/reports/errors/\n/models/\n/data/\n")
    YAML().dump(ROWS, folder / "toys.yaml")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=folder)
    commit(folder, ".")
    return folder


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    folder = shutil.copytree(template, tmp_path / "project")
    monkeypatch.chdir(folder)
    (tmp_path / "log").touch()
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("TOY_ARTEFACT", str(write_model(tmp_path / "artefact")))
    return folder


def commit(folder: Path, path: str) -> None:
    subprocess.run(["git", "add", path], check=True, cwd=folder)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", path], check=True, cwd=folder)


def toy_rows(*names: str) -> list:
    return chosen_rows(load_definitions(Path("toys.yaml")), names, ["ablation-quick"])


def run(rows: list) -> str:
    """How the flow ended: its error, in words, or nothing."""
    try:
        ablate.with_options(task_runner=ThreadPoolTaskRunner(max_workers=2))(rows, "eight", "the command")
    except VelocityError as error:
        return str(error)
    return ""


def log(project: Path) -> list[str]:
    return (project.parent / "log").read_text().splitlines()


@pytest.mark.timeout(600)
def test_rows_run_once_go_on_after_a_kill_and_fail_alone(project):
    rows = toy_rows()
    assert run(rows).startswith("2 of 3 rows failed: broken, six; ")
    trained = [f"8 {step}" for step in range(4)]
    steps = [line for line in log(project) if line != "evaluate"]
    assert steps == [*trained, "6 0", "6 1", "6 2"]  # `broken` has the training of `eight`: it is in the run cache
    reported = {row["name"]: row for row in json.loads(Path("reports/ablation.json").read_text())["rows"]}
    assert list(reported) == ["broken", "six", "eight"]
    assert reported["broken"]["failed"] == "stage evaluate failed: calibrate.ranges: 'minmax' is not for toys"
    assert "failed" in reported["six"]
    assert reported["eight"]["test_sets"]["toy-test"]["onnx"]["wer"] == 0.02

    assert run(rows).startswith("1 of 3 rows failed: broken; ")
    assert [line for line in log(project) if line != "evaluate"] == [*steps, "6 3"]  # from the checkpoint
    assert log(project).count("evaluate") == 2
    reported = {row["name"]: row for row in json.loads(Path("reports/ablation.json").read_text())["rows"]}
    six, eight = reported["six"], reported["eight"]
    assert (six["parameters"], six["audio_hours"], eight["audio_hours"]) == (7, 0.5, 0.75)
    assert six["test_sets"]["toy-test"]["onnx-int8"]["difference"] == 0.08
    assert six["test_sets"]["toy-test"]["onnx-int8"]["significant"]
    assert six["bytes"] == eight["bytes"] > 0
    assert 0.2 < six["rtf_ratio"] < 5  # the same artefact
    assert eight["rtf_ratio"] == 1.0
    report = Path("reports/ablation.md").read_text()
    assert "`broken` (fails in a stage): stage evaluate failed" in report
    assert Path("reports/ablation.png").stat().st_size > 5000
    listed = subprocess.run([sys.executable, "-m", "dvc", "exp", "list"], capture_output=True, text=True).stdout
    assert all(row.experiment in listed for row in rows if row.name != "broken")

    before = log(project)
    shutil.rmtree(next(row for row in rows if row.name == "eight").workspace)
    assert run(toy_rows("eight")) == ""
    assert log(project) == [*before, "evaluate"]  # trained never again; the errors of utterances are no DVC output
    assert subprocess.run(["git", "diff", "--quiet"]).returncode == 0  # the project itself is as it was


def test_an_experiment_is_named_by_its_parameters_and_the_code(project):
    first = {row.name: row.experiment for row in toy_rows()}
    assert first == {row.name: row.experiment for row in toy_rows()}
    assert len(set(first.values())) == 3
    Path("README.md").write_text("nothing that a result depends on")
    commit(project, "README.md")
    assert first == {row.name: row.experiment for row in toy_rows()}
    Path("velocity/toy.py").write_text(TOY + "\n# changed\n")
    assert first == {row.name: row.experiment for row in toy_rows()}  # not committed
    commit(project, "velocity/toy.py")
    assert not set(first.values()) & {row.experiment for row in toy_rows()}


def test_the_project_s_rows_are_valid_with_either_profile(project):
    definitions = load_definitions()
    for profile in ("ablation-quick", "reference"):
        for row in chosen_rows(definitions, [], [profile]):
            params = parse_params(YAML(typ="safe").load(row.params))
            assert params.finetune.qat == (params.calibrate.ranges == "trained"), row.name
    assert [row.name for row in chosen_rows(definitions, ["causal"], [])] == ["final", "causal"]


def test_faulty_rows_are_one_line(project, capsys):
    definitions = load_definitions()
    with pytest.raises(VelocityError, match=r"^ablations.yaml: no row 'seven'; there are final, six-fixed"):
        chosen_rows(definitions, ["seven"], [])
    with pytest.raises(VelocityError, match="no such profile"):
        chosen_rows(definitions, [], ["nope"])
    document = YAML(typ="safe").load(Path("toys.yaml"))
    document["rows"]["six"]["overlay"]["model"]["blokcs"] = 3
    YAML().dump(document, Path("toys.yaml"))
    with pytest.raises(VelocityError, match=r"^ablations.yaml: row six: model.blokcs: unknown key$"):
        toy_rows()
    document["baseline"] = "nine"
    YAML().dump(document, Path("toys.yaml"))
    with pytest.raises(VelocityError, match=r"^toys.yaml: baseline: 'nine' is not one of the rows$"):
        toy_rows()
    Path("ablations.yaml").unlink()
    with pytest.raises(SystemExit):
        module.main()
    assert (
        capsys.readouterr().err
        == "error: ablations.yaml: no such file or directory; run this in the project's folder\n"
    )


def test_the_table_is_a_run_in_mlflow_with_a_run_below_it_for_each_row(project, monkeypatch):
    ledgers = []

    class Ledger:
        """As velocity.tracking.ledger has it, without a store."""

        def __init__(self, uri, stage):
            self.run_id = f"id of {stage}"
            ledgers.append(self)

        def send(self, messages):
            self.first, *self.others = messages

    monkeypatch.setattr("velocity.tracking.ledger.Ledger", Ledger)
    monkeypatch.delenv("VELOCITY_TRACKING")
    entry = {"name": "six", "title": "t", "experiment": "x", "rtf": 0.5, "test_sets": {"toy": {"onnx": {"wer": 0.25}}}}
    broken = {"name": "broken", "title": "t", "experiment": "y", "failed": "why"}
    record({"command": "c", "baseline": "eight", "rows": [entry, broken]}, toy_rows())
    table, six = ledgers
    assert [message["artifact"] for message in table.others[:3]] == [
        "reports/ablation.md",
        "reports/ablation.json",
        "reports/ablation.png",
    ]
    assert six.first["tags"]["mlflow.parentRunId"] == "id of ablation"
    assert six.first["tags"]["dvc.experiment"] == "x"
    assert six.first["params"]["model.blocks"] == "6"
    assert {name: value for name, value, _, _ in six.others[0]["metrics"]} == {
        "rtf": 0.5,
        "test_sets.toy.onnx.wer": 0.25,
    }
    assert six.others[-1] == table.others[-1] == {"close": "FINISHED"}
