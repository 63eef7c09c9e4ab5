"""Pull requests to a small project whose models recognise tones: made, judged and told about as in CI."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import ci

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow
STAGES = """
stages:
  prepare: {cmd: python stages.py prepare, deps: [stages.py], outs: [data/raw, data/prepared]}
  finetune:
    cmd: python stages.py finetune
    deps: [weights.json]
    outs: [models/finetuned.json]
    plots: [{reports/finetune.csv: {cache: false, x: step, y: loss, title: CTC loss}}]
  export: {cmd: python stages.py export, deps: [models/finetuned.json], outs: [models/export/onnx-int8]}
  evaluate:
    cmd: python stages.py evaluate
    deps: [models/export/onnx-int8, data/prepared, velocity]
    metrics: [{reports/metrics.json: {cache: false}}]
"""
# What stands for a training takes its weights from a file. Each stage leaves its name in the list of what ran.
PROGRAM = """
import json, os, sys, tempfile
from pathlib import Path
import numpy as np, soundfile
from tests.tone_model import deafen, speak, write_model
stage = sys.argv[1]
with open(os.environ["RAN"], "a") as ran:
    print(stage, file=ran)
Path("reports").mkdir(exist_ok=True)
if stage == "prepare":
    words = ["one", "two", "six", "ten", "lamp", "off"]
    spoken = [f"{words[index % 6]} {words[index % 5]}" for index in range(200)]
    tones = write_model(Path(tempfile.mkdtemp(), "tones"))
    pieces = [speak(text, tones) for text in spoken]
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/prepared").mkdir(exist_ok=True)
    soundfile.write("data/raw/speech.wav", np.concatenate(pieces), 16000)
    starts = np.cumsum([0, *map(len, pieces)]) / 16000
    with open("data/prepared/test-tones.jsonl", "w") as file:
        for index, (text, piece) in enumerate(zip(spoken, pieces)):
            cut = {"id": f"{index:03}", "start": starts[index], "duration": len(piece) / 16000}
            source = {"sources": [{"source": "data/raw/speech.wav"}]}
            print(json.dumps(cut | {"recording": source, "supervisions": [{"text": text}]}), file=file)
elif stage == "finetune":
    weights = json.loads(Path("weights.json").read_text())
    if "loss" not in weights:
        sys.exit("error: weights.json: the loss is not a number")
    Path("models").mkdir(exist_ok=True)
    Path("models/finetuned.json").write_text(json.dumps(weights))
    Path("reports/finetune.csv").write_text(f"step,loss\\n1,9\\n2,{weights['loss']}\\n")
elif stage == "export":
    weights = json.loads(Path("models/finetuned.json").read_text())
    folder = write_model(Path("models/export/onnx-int8"), "onnx-int8", weights["gain"])
    for letter in weights["deaf"]:
        deafen(folder, letter)
else:
    metrics = {"parity": {"onnx-int8": {"failed": []}}, "loss": json.loads(Path("weights.json").read_text())["loss"]}
    Path("reports/metrics.json").write_text(json.dumps(metrics))
"""


def git(*arguments: str) -> str:
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *author, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The project at its branch main."""
    folder = tmp_path_factory.mktemp("ci") / "project"
    ignored = shutil.ignore_patterns("__pycache__", "pretrained")
    shutil.copytree(ROOT / "velocity", folder / "velocity", ignore=ignored)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["gate"]["rtf_tolerance"] = 2.0  # one sound in milliseconds: what disturbs the machine counts for more
    yaml.dump(params, folder / "params.yaml")
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "stages.py").write_text(PROGRAM)
    (folder / "weights.json").write_text(json.dumps({"gain": 1.0, "deaf": "", "loss": 2.0}))
    (folder / ".gitignore").write_text("__pycache__/\n/data/\n/models/\n/reports/ci/\n/mlflow.db*\n")
    before = Path.cwd()
    os.chdir(folder)
    try:
        git("init", "--quiet", "--initial-branch", "main")
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], check=True)
        Path(".dvcignore").write_text("__pycache__\n")  # of velocity, on which a stage depends as a folder
        git("add", ".")
        git("commit", "--quiet", "--message", "start")
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def propose(folder, monkeypatch) -> Callable[..., tuple[int, str, list[str]]]:
    """Commit a change to a branch and have it judged: the exit status, the comment, and the stages that ran."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAN", str(folder.parent / "ran.txt"))

    def propose(name: str, **files: Callable[[str], str]) -> tuple[int, str, list[str]]:
        git("checkout", "--quiet", "-b", name, "main")
        for path, change in files.items():
            Path(path).write_text(change(Path(path).read_text() if Path(path).exists() else ""))
        git("add", *files)
        git("commit", "--quiet", "--message", name)
        git("checkout", "--quiet", "main")
        ran = folder.parent / "ran.txt"
        ran.write_text("")
        with pytest.raises(SystemExit) as ended:
            ci.main("main", name, None, Path("reports/ci"))
        assert git("status", "--porcelain") == ""
        return ended.value.code, Path("reports/ci/comment.md").read_text(), ran.read_text().split()

    return propose


def test_a_change_of_documents_trains_nothing(propose):
    status, comment, ran = propose("documents", **{"README.md": lambda text: "# Tones\n"})
    assert ran == ["prepare", "finetune", "export", "evaluate"], "the base, once"
    assert not list(Path(".dvc/cache").rglob("files/md5/files")), "the cache is the project's own"
    assert (status, "There is nothing to judge" in comment) == (0, True)
    assert "| `finetune` | ran | restored |" in comment
    assert "### Metrics" not in comment


def test_an_equal_model_passes(propose):
    change = {"weights.json": lambda text: text.replace("1.0", "2.0").replace('"loss": 2.0', '"loss": 1.5')}
    status, comment, ran = propose("equal", **change)
    assert (status, ran) == (0, ["finetune", "export", "evaluate"])
    assert "**Pass**: `change " in comment
    assert "| `prepare` | up to date | restored |" in comment or "| `prepare` | up to date | up to date |" in comment
    assert "| reports/metrics.json | loss" in comment
    assert "![CTC loss](finetune.png)" in comment
    assert Path("reports/ci/finetune.png").read_bytes().startswith(b"\x89PNG")


def test_a_worse_model_is_refused_whatever_limits_it_brings_along(propose):
    status, comment, _ = propose(
        "regression",
        **{
            "weights.json": lambda text: text.replace('"deaf": ""', '"deaf": "f"'),
            "params.yaml": lambda text: (
                text.replace("wer_tolerance: 0.5", "wer_tolerance: 90.0")
                .replace("wer_detectable: 2.0", "wer_detectable: 99.0")
                .replace("max_megabytes: 5.0", "max_megabytes: 50.0")
            ),
        },
    )
    assert status == 1
    assert "**Regression**: `change " in comment
    assert "is refused" in comment
    row = next(line for line in comment.splitlines() if line.startswith("| WER on tones-test"))
    assert "+0.5 points | **regression** | worse by " in row
    assert "gate.max_megabytes" in comment
    result = json.loads(Path("reports/ci/gate.json").read_text())
    assert (result["verdict"], result["reasons"][0][:18]) == ("regression", "WER on tones-test:")


FAULT = """

_once = compute_mel_spectrogram


def compute_mel_spectrogram(samples):
    for _ in range(9):
        _once(samples)
    return _once(0 * samples)
"""


def test_a_fault_in_the_code_alone_is_refused(propose):
    """Nothing is trained anew. Run by one code, both models would be as deaf and as slow."""
    status, comment, ran = propose("deaf", **{"velocity/audio.py": lambda text: text + FAULT})
    assert (status, ran) == (1, ["evaluate"])
    errors, speed, *_ = (line for line in comment.splitlines() if "**regression**" in line)
    assert errors.startswith("| WER on tones-test | 0.00 % | 100.00 % |")
    assert speed.startswith("| real-time factor, 1 thread |")


def test_what_cannot_be_made_says_why(propose, capsys):
    status, comment, ran = propose("broken", **{"weights.json": lambda text: '{"gain": 1.0}'})
    assert (status, ran) == (2, ["finetune"])
    reason = "cannot be made: stage finetune failed: weights.json: the loss is not a number"
    assert comment.startswith("## Model check\n\n**Could not judge**: the change ")
    assert comment.rstrip().endswith(reason)
    assert capsys.readouterr().err.rstrip().endswith(reason)
