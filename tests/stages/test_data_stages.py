"""The stages fetch, validate and prepare on a folder and a little synthetic speech, as commands would run them."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

import velocity.corpora
from velocity.data.manifests import load_cuts
from velocity.errors import VelocityError
from velocity.stages import fetch, prepare, validate
from velocity.text import TextTokenizer

PARAMS = Path(__file__).parents[2] / "params.yaml"
COMMANDS = Path(velocity.corpora.__path__[0], "commands.yaml")
CORPORA = {
    "spoken": {"kind": "synthetic", "source": "commands.yaml", "utterances": 24, "voices": 12, "test": "^a"},
    "mine": {"kind": "folder", "source": "speech", "test": 0, "validation": 0},
    "plain": {"kind": "folder", "source": "unlabelled", "labelled": False},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with three corpora; the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    Path("commands.yaml").write_bytes(COMMANDS.read_bytes())
    random = np.random.default_rng(3)
    for folder, seconds in (("speech/9/1", 1), ("unlabelled", 45)):
        Path(folder).mkdir(parents=True)
        for index in range(3):
            soundfile.write(f"{folder}/9-1-{index}.wav", random.normal(0, 0.05, seconds * 16_000), 16_000)
    Path("speech/9/1/9-1.trans.txt").write_text("".join(f"9-1-{index} Number {index}!\n" for index in range(3)))
    Path("data").mkdir()
    Path("data/accepted.json").write_text("{}")
    write_params()
    return tmp_path


def write_params(**changes):
    params = YAML(typ="safe").load(PARAMS.read_text())
    params["corpora"] = {name: {**corpus, **changes.get(name, {})} for name, corpus in CORPORA.items()}
    params["corpora"]["spoken"].setdefault("validation", "^b")
    YAML(typ="safe").dump(params, Path("params.yaml"))


def run_stages(monkeypatch):
    for name in CORPORA:
        monkeypatch.setattr(sys, "argv", ["fetch", name])
        fetch.main()
    validate.main()
    prepare.main()


def digests():
    files = [path for folder in ("data/manifests", "data/prepared") for path in sorted(Path(folder).rglob("*.*"))]
    files.append(Path("reports/validation/summary.json"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_from_sources_to_prepared_and_again(project, monkeypatch):
    run_stages(monkeypatch)
    names = {path.name for path in Path("data/prepared").iterdir()}
    files = {"train.jsonl", "validation.jsonl", "pretrain.jsonl", "test-spoken.jsonl"}
    assert names == files | {"tokenizer.model", "features.json", "summary.json"}
    assert Path("data/raw/mine/SOURCE").read_text() == "speech\n"

    cuts = {name: load_cuts(f"data/prepared/{name}") for name in files}
    speakers = {name: {cut.supervisions[0].speaker for cut in cuts[name]} for name in files - {"pretrain.jsonl"}}
    assert not speakers["train.jsonl"] & (speakers["test-spoken.jsonl"] | speakers["validation.jsonl"])
    assert all(speaker.startswith("a") for speaker in speakers["test-spoken.jsonl"])
    assert "number two" in {cut.supervisions[0].text for cut in cuts["train.jsonl"]}
    windows = [cut for cut in cuts["pretrain.jsonl"] if cut.id.startswith("plain/")]
    assert [cut.duration for cut in windows] == [15.0] * 9
    assert len(cuts["pretrain.jsonl"]) == len(cuts["train.jsonl"]) + 9

    features = json.loads(Path("data/prepared/features.json").read_text())
    assert len(features["mean"]) == len(features["std"]) == 80
    summary = json.loads(Path("data/prepared/summary.json").read_text())
    assert summary["vocabulary"] == TextTokenizer("data/prepared/tokenizer.model").vocabulary
    assert summary["splits"]["train"]["utterances"] == len(cuts["train.jsonl"])

    before = digests()
    assert str(project) not in "".join(Path(name).read_text(errors="replace") for name in before)
    validate.main()
    prepare.main()
    assert digests() == before


def test_a_fault_leaves_nothing_that_looks_accepted(project, monkeypatch):
    run_stages(monkeypatch)
    soundfile.write("speech/9/1/9-1-1.wav", np.zeros(16_000), 16_000)
    with pytest.raises(VelocityError, match=r"corpus mine: 1 utterances would be dropped, .*: silence 1\)"):
        validate.main()
    assert not Path("reports/validation/summary.json").exists()
    with pytest.raises(VelocityError, match=r"data/validated/exclusions\.jsonl: no such file"):
        prepare.main()
    Path("speech/9/1/9-1-1.wav").unlink()
    monkeypatch.setattr(sys, "argv", ["fetch", "mine"])
    fetch.main()
    with pytest.raises(
        VelocityError, match=r"transcript-without-audio: 1 of \d+: speech/9/1/9-1\.trans\.txt line 2; all f"
    ):
        validate.main()
    write_params(mine={"source": "nowhere"})
    with pytest.raises(VelocityError, match=r"nowhere: no such folder"):
        fetch.main()
    assert not Path("data/manifests/mine").exists()
    with pytest.raises(VelocityError, match=r"data/manifests/mine/recordings\.jsonl: no such file"):
        validate.main()


def test_a_speaker_alone_is_split_by_utterances_and_that_is_said(project, monkeypatch, capfd):
    """Validation sees the same splits as prepare: the sentence that two utterances of different splits have."""
    for index in range(3, 12):
        noise = np.random.default_rng(100 + index).normal(0, 0.05, 16_000)
        soundfile.write(f"speech/9/1/9-1-{index}.wav", noise, 16_000)
    text = "".join(f"9-1-{index} Good day\n" for index in range(12))
    Path("speech/9/1/9-1.trans.txt").write_text(text)
    write_params(mine={"test": 0.2, "validation": 0.1})
    run_stages(monkeypatch)
    printed = capfd.readouterr().err
    assert "prepare mine: split by utterances, so its splits share speakers: too few speakers (1)" in printed
    summary = json.loads(Path("data/prepared/summary.json").read_text())
    assert summary["split_by_utterance"] == {"mine": 1}
    cuts = {name: load_cuts(f"data/prepared/{name}.jsonl") for name in ("train", "validation", "test-mine")}
    ids = {name: {cut.id for cut in found if cut.id.startswith("mine/")} for name, found in cuts.items()}
    assert all(ids.values())
    assert sum(map(len, ids.values())) == len(set().union(*ids.values())) == 12
    assert {cut.supervisions[0].speaker for cut in cuts["test-mine"]} == {"9"}
    checks = json.loads(Path("reports/validation/summary.json").read_text())["checks"]
    assert checks["sentence-in-two-splits"]["failed"] >= len(ids["train"])


def test_an_empty_split_and_an_unknown_corpus_are_named(project, monkeypatch):
    run_stages(monkeypatch)
    write_params(spoken={"validation": 0})
    with pytest.raises(VelocityError, match="no corpus has utterances for the split validation"):
        prepare.main()
    write_params(mine={"test": "^nobody"})
    with pytest.raises(VelocityError, match=r"corpus mine: its test split is empty \(1 speakers\)"):
        prepare.main()
    monkeypatch.setattr(sys, "argv", ["fetch", "yours"])
    with pytest.raises(VelocityError, match=r"name one of the corpora of params\.yaml: mine, plain, spoken"):
        fetch.main()
    write_params(mine={"source": "nowhere"})
    monkeypatch.setattr(sys, "argv", ["fetch", "mine"])
    with pytest.raises(VelocityError, match=r"corpora\.mine\.source: nowhere: no such folder"):
        fetch.main()
