"""The flow over a toy project with quick stages and a file for a registry: how each run ends, and what it leaves."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import State
from ruamel.yaml import YAML

from flows import retrain as module
from flows.workspaces import git, reference
from velocity.errors import VelocityError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

STAGES = """
stages:
  validate:
    cmd: python velocity/toy.py validate
    params: [validate]
    deps: [speech]
    metrics:
      - reports/validation/summary.json: {cache: false}
  finetune:
    cmd: python velocity/toy.py finetune
    deps: [speech, reports/validation/summary.json]
    outs: [models/finetuned.txt]
"""

# What is spoken is a number, how good the model of it will be; it may be called bad, or unlike what was before.
TOY = """
import json, sys
from pathlib import Path
from ruamel.yaml import YAML

def validate():
    said = Path("speech/a.txt").read_text()
    severity = YAML(typ="safe").load(Path("params.yaml"))["validate"]["drift"]["severity"]
    if "bad" in said:
        sys.exit("error: speech/a.txt: not speech")
    if "unlike" in said and severity == "refuse":
        sys.exit("error: drift from the accepted version")
    path = Path("reports/validation/summary.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {"seconds": 0.5, "drifted": int("unlike" in said)}
    path.write_text(json.dumps({"drift": {"a": figures}}))

def finetune():
    Path("models").mkdir(exist_ok=True)
    Path("models/finetuned.txt").write_text(Path("speech/a.txt").read_text())

globals()[sys.argv[1]]()
"""

# velocity-asr register and promote, as far as the flow knows them.
CLI = """
import json, os, sys
from pathlib import Path

path, model = Path(os.environ["TOY_REGISTRY"]), Path("models/finetuned.txt").read_text().strip()
kept = json.loads(path.read_text())
number = next((at for at, version in kept["versions"].items() if version["model"] == model), None)

def quality(version):
    return float(kept["versions"][version]["model"].split()[0]) if version else -1

if sys.argv[1] == "register":
    if number is None and "--dry-run" not in sys.argv:
        number = str(len(kept["versions"]) + 1)
        entry = {"model": model, "verdict": None, "experiment": os.environ["DVC_EXP_NAME"]}
        kept["versions"][number] = entry
    verdict = kept["versions"][number]["verdict"] if number else None
    result = {"version": number, "verdict": verdict, "champion": kept["champion"]}
else:
    number = sys.argv[sys.argv.index("--version") + 1]
    if not model:
        sys.exit("error: nothing to judge")
    gain = quality(number) - quality(kept["champion"])
    better = gain > 0
    verdict = "pass" if better or "as good" in model else "regression" if gain < 0 else "could not judge"
    kept["versions"][number]["verdict"] = verdict
    kept["asked"] += 1
    if better or (verdict == "pass" and "--only-better" not in sys.argv):
        kept["champion"] = number
    Path(sys.argv[sys.argv.index("--markdown") + 1]).write_text(f"gain {gain}")
    result = {"verdict": verdict, "reasons": [] if verdict == "pass" else [f"gain of {gain}"]}
path.write_text(json.dumps(kept))
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retraining") / "project"
    for part in ("velocity", "speech"):
        (folder / part).mkdir(parents=True)
    for name in ("__init__.py", "toy.py", "cli.py"):
        (folder / "velocity" / name).write_text({"toy.py": TOY, "cli.py": CLI}.get(name, ""))
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / ".gitignore").write_text("/speech/\n__pycache__/\n")
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["corpora"] = {"toy": {"kind": "folder", "source": "speech"}}
    yaml.dump(params, folder / "params.yaml")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"], ["git", "add", "."]):
        subprocess.run(command, check=True, cwd=folder)
    commit(folder)
    (folder.parent / "registry.json").write_text(json.dumps({"versions": {}, "champion": None, "asked": 0}))
    return folder


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-qam", "change"], check=True, cwd=folder)


@pytest.fixture(autouse=True)
def here(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setenv("TOY_REGISTRY", str(project.parent / "registry.json"))
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.fixture
def run(capsys):
    def run(said: str, drift: str = "as-params", promote: str = "better") -> tuple[int, str]:
        """What arrives, → the exit status, and the last line that is printed."""
        Path("speech/a.txt").write_text(said)
        with pytest.raises(SystemExit) as ended:
            module.main(drift, promote)
        printed = capsys.readouterr()
        started, *errors = printed.err.splitlines()
        assert started.startswith("Starting Prefect")
        return ended.value.code, [*printed.out.splitlines(), *errors][-1]

    return run


def tear() -> None:
    """What a killed git and a killed DVC may leave."""
    lock = module.WORKSPACE / "dvc.lock"
    lock.write_text(lock.read_text().rpartition("deps:")[0])
    (module.WORKSPACE / ".git/index.lock").touch()
    (module.WORKSPACE / ".dvc/tmp/rwlock").write_text("{")


def last_state() -> State:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0].state


def registry() -> dict:
    return json.loads(Path("../registry.json").read_text())


@pytest.mark.timeout(900)
def test_what_is_new_is_trained_on_and_the_gate_decides(run):
    before = git("status", "--porcelain"), git("rev-parse", "HEAD")
    assert run("5") == (0, "Promoted. version 1 (pass), the champion")
    assert run("5") == (0, "Nothing new: this model is version 1 (pass), the champion")
    assert run("4") == (1, "Kept the champion: gain of -1.0. version 2 (regression), the champion is version 1")
    assert registry()["asked"] == 2
    assert run("4")[1].startswith("Nothing new: this model is version 2 (regression), ")
    assert run("bad") == (2, "error: stage validate failed: speech/a.txt: not speech")
    assert "StageFailed: stage validate failed: speech/a.txt: not speech" in last_state().message
    tear()
    assert run("5")[1].startswith("Nothing new: this model is version 1 ")  # what was refused has left nothing
    assert registry()["asked"] == 2, "what has been judged is not judged again"
    assert run("5 other")[:2] == (2, "Could not judge: gain of 0.0. version 3 (could not judge), "
                                     "the champion is version 1")  # fmt: skip
    assert run("5 other")[0] == 2
    assert registry()["asked"] == 4, "what could not be judged is judged again"
    assert (registry()["champion"], Artifact.get("gate").data) == ("1", "gain 0.0")

    assert (git("status", "--porcelain"), git("rev-parse", "HEAD")) == before
    assert not Path("models").exists()
    experiment = registry()["versions"]["2"]["experiment"]
    applied = subprocess.run([sys.executable, "-m", "dvc", "exp", "apply", experiment], capture_output=True, text=True)
    assert applied.returncode == 0, applied.stderr
    assert Path("models/finetuned.txt").read_text() == "4"
    assert "speech" not in git("ls-tree", "--name-only", reference(Path(), experiment))
    subprocess.run(["git", "checkout", "-q", "."], check=True)


@pytest.mark.timeout(900)
def test_drift_stops_the_run_or_is_noted_with_it(run):
    versions = len(registry()["versions"])
    refused = (2, "error: stage validate failed: drift from the accepted version")
    assert run("6 unlike", "stop") == refused
    assert run("6 unlike")[1].startswith("Promoted. ")  # validate.drift.severity is warn
    assert "| a | seconds | 0.5 |" in Artifact.get("drift").data
    assert len(registry()["versions"]) == versions + 1
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("severity: warn", "severity: refuse"))
    assert run("6 unlike")[1].startswith("Nothing new: "), "only the last commit counts"
    commit(Path())
    assert run("7 unlike") == refused
    assert run("7 unlike", "go-on")[1].startswith("Promoted. ")


@pytest.mark.timeout(900)
def test_what_is_as_good_takes_no_place_unless_that_is_wanted(run):
    assert run("8")[0] == 0
    champion, versions = registry()["champion"], len(registry()["versions"])
    kept = f"version {versions + 1} (pass), the champion is version {champion}"
    assert run("8 as good") == (1, f"Kept the champion: not significantly better on any test set. {kept}")
    assert run("8 as good") == (0, f"Nothing new: this model is {kept}")
    promoted = f"Promoted. version {versions + 2} (pass), the champion"
    assert run("8 as good, too", promote="not-worse") == (0, promoted)


def test_a_registry_that_does_not_answer_is_one_line(project):
    shutil.copy("../registry.json", "../kept.json")
    Path("../registry.json").unlink()
    try:
        with pytest.raises(VelocityError, match=r"^velocity-asr register: FileNotFoundError: .*registry.json'$"):
            module.velocity_asr(subprocess.DEVNULL, "register", "--dry-run")
    finally:
        shutil.move("../kept.json", "../registry.json")
