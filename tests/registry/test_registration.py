"""A project's model in a real MLflow store: registered, gated, promoted, loaded, rolled back, and killed on the way."""

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import pytest

from tests.command import run
from tests.exported import WER, export
from tests.servers.conftest import free_port
from tests.tone_model import write_speech
from velocity import VelocityASR
from velocity.config.gate import Gate
from velocity.config.reader import default_section
from velocity.errors import VelocityError
from velocity.files import dvc_hash
from velocity.gate import Facts, Sizes, judge
from velocity.gate.statistics import Difference
from velocity.registry import NAME, Champions, Registry, register, registered
from velocity.tracking.store import create_store

CHAMPION = f"models:/{NAME}@champion"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project that has exported and measured a model."""
    folder = tmp_path_factory.mktemp("project")
    export(folder, gain=1.0)
    write_speech(folder / "a.wav", "seven lamps", folder / "models/export/onnx")
    return folder


@pytest.fixture(autouse=True)
def project(folder, monkeypatch) -> Path:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="module")
def registry(folder) -> Registry:
    return Registry(f"sqlite:///{folder}/mlflow.db")


def test_registered_promoted_loaded_rolled_back(registry, project, capsys):
    line = f"{NAME} not registered; champion: none, previous: none, challenger: none\n"
    assert run(capsys, "register", "--dry-run")[:2] == (0, line)
    for command in ("promote", "rollback"):
        error = f"error: {NAME}: no model registry yet at sqlite:///mlflow.db; `velocity-asr register` makes one\n"
        assert run(capsys, command)[::2] == (2, error)
    for command in (["gate", "--candidate", CHAMPION, "--champion", "models/export"], ["compare", CHAMPION, CHAMPION]):
        status, _, error = run(capsys, *command, "--test-set", "a-test.jsonl")
        assert (status, "no model registry yet at sqlite:///mlflow.db" in error) == (2, True)
    assert list(project.glob("ml*")) == [], "who only looks leaves nothing behind"
    line = f"{NAME} version 1; champion: none, previous: none, challenger: version 1\n"
    assert run(capsys, "register")[:2] == (0, line)
    assert run(capsys, "register")[:2] == (0, line), "the same model is the same version"
    version = registry.client.get_model_version(NAME, "1")
    tags = {"wer/a-test": str(WER), "wer_ci95/a-test": "0.0656 to 0.0858", "parity": "passed", "bytes": "1000"}
    assert tags.items() <= version.tags.items()
    assert version.description == "# The model's card\n"
    kept = registry.client.get_run(version.run_id)
    assert (kept.info.status, kept.data.metrics["test_sets.a-test.onnx-int8.wer"]) == ("FINISHED", WER)
    status, out, _ = run(capsys, "promote")
    assert (status, out.splitlines()[-1]) == (0, "champion: version 1, previous: none, challenger: none")
    result = json.loads(run(capsys, "register", "--dry-run", "--json")[1])
    assert result == {"version": "1", "verdict": "pass", "champion": "1", "previous": None, "challenger": None}

    export(project, gain=2.0, passed=False)
    assert run(capsys, "register")[0] == 0
    cut = {"id": "a", "start": 0.0, "duration": 1.0, "recording": {"sources": [{"source": "a.wav"}]}}
    Path("a-test.jsonl").write_text(json.dumps(cut | {"supervisions": [{"text": "seven lamps"}]}))
    status, out, _ = run(capsys, "promote", "--test-set", "a-test.jsonl", "--rtf-tolerance", "100", "--json")
    result = json.loads(out)
    assert (status, result["candidate"], result["champion"]) == (1, f"models:/{NAME}/2", f"models:/{NAME}/1")
    assert "parity with PyTorch: another word" in result["reasons"], "what was measured goes with the version"
    assert registry.champions() == Champions("1", None, "2")
    assert registry.tags("2")["verdict"] == "regression"

    registry.promote("2", judged_beside="1")
    for target, quantized in (("onnx", False), ("onnx-int8", True)):
        model = VelocityASR.from_pretrained(CHAMPION, quantized=quantized)
        assert model.folder.name == target
        assert (model.folder / "model.onnx").read_bytes() == Path(f"models/export/{target}/model.onnx").read_bytes()
    assert run(capsys, "transcribe", "a.wav", "--model", CHAMPION)[:2] == (0, "seven lamps\n")
    assert run(capsys, "rollback")[:2] == (0, "champion: version 1, previous: none, challenger: none\n")
    status, _, error = run(capsys, "rollback")
    assert (status, error.count("\n")) == (2, 1)
    assert error.startswith(f"error: {NAME}: no previous champion to go back to in sqlite:///")


def test_a_model_trained_from_another_version_names_it(registry, project, tmp_path):
    export(project, gain=11.0)
    parent = register(registry)
    shutil.copytree("models/export/onnx-int8", tmp_path / "base")
    lock = {"stages": {"finetune": {"params": {"params.yaml": {"finetune": {"base": str(tmp_path / "base")}}}}}}
    export(project, gain=12.0)
    Path("dvc.lock").write_text(json.dumps(lock))  # JSON is YAML
    try:
        tags = registry.tags(register(registry))
        assert (tags["parent"], tags["base"]) == (parent, "tones")
        assert "parent" not in registry.tags(parent)
        export(project, gain=13.0)
        (tmp_path / "base/model.onnx").write_bytes(b"of no version")
        assert "parent" not in registry.tags(register(registry))
        (tmp_path / "base/model.onnx").unlink()
        with pytest.raises(VelocityError, match=r"finetune\.base: .*model\.onnx"):
            register(registry)
    finally:
        Path("dvc.lock").unlink()


def test_what_is_as_good_is_promoted_only_without_only_better(registry, project, capsys, monkeypatch):
    """Judged on 1,000 utterances with the same errors."""
    with registry.alone() as before:
        pass
    export(project, gain=5.0)
    version = register(registry)
    alike = Difference(0.08, 0.08, (0.0, 0.0), 1.0, 1000, 7000)
    sizes = dict.fromkeys(("champion", "candidate"), Sizes(1, 1))
    limits = default_section("gate", Gate)
    judged = lambda candidate, beside, *_: judge(Facts(candidate, beside, sizes, {"a": alike}), limits)  # noqa: E731
    monkeypatch.setattr("velocity.commands.registry.gate", judged)
    status, out, _ = run(capsys, "promote", "--only-better")
    assert (status, registry.champions()) == (1, replace(before, challenger=version))
    assert out.splitlines()[-2] == "not significantly better on any test set: not promoted"
    assert registry.tags(version)["verdict"] == "pass"
    assert run(capsys, "promote")[0] == 0
    assert registry.champions().champion == version


def test_loading_runs_no_code_of_the_model(registry, tmp_path):
    """Whoever can write to the store may put anything beside the artefacts."""
    register(registry)
    version = registry.champions().challenger or registry.champions().champion
    kept = Path(registry.client.get_model_version_download_uri(NAME, version).removeprefix("file://"))
    for name in ("serving.py", "python_model.pkl", "artifacts/onnx/custom_ops.py", "code/sitecustomize.py"):
        (kept / name).parent.mkdir(exist_ok=True)
        planted = f"open({str(tmp_path / 'ran')!r}, 'w')"
        pickled = b"cbuiltins\nexec\n(V" + planted.encode() + b"\ntR."
        (kept / name).write_bytes(pickled if name.endswith(".pkl") else planted.encode())
    assert VelocityASR.from_pretrained(f"models:/{NAME}/{version}", quantized=True).transcribe("a.wav") == "seven lamps"
    assert not (tmp_path / "ran").exists()
    exec((kept / "serving.py").read_text())
    assert (tmp_path / "ran").exists(), "the planted code would have shown"


def test_reports_of_another_model_are_not_registered(registry, project, tmp_path, monkeypatch):
    shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts"))
    monkeypatch.chdir(tmp_path / "copy")
    stages = {"export": {"outs": [{"path": "models/export/onnx-int8", "md5": "new"}]}}
    for stage, name in (("evaluate", "metrics"), ("benchmark", "benchmark")):
        hashed = {"path": f"reports/{name}.json", "md5": md5(Path(f"reports/{name}.json").read_bytes()).hexdigest()}
        stages[stage] = {"deps": [{"path": "models/export/onnx-int8", "md5": "new"}], "outs": [hashed]}
    stages["evaluate"]["deps"].append({"path": "models/export", "md5": dvc_hash(Path("models/export"))})

    def refused(match: str) -> None:
        Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        before = len(registry.client.search_model_versions(f"name = '{NAME}'"))
        with pytest.raises(VelocityError, match=match):
            register(registry)
        assert len(registry.client.search_model_versions(f"name = '{NAME}'")) == before

    stages["benchmark"]["deps"][0]["md5"] = "old"
    refused(r"models/export/onnx-int8: changed since benchmark read it \(dvc\.lock\); run `dvc repro`")
    stages["benchmark"]["deps"][0]["md5"] = "new"
    stages["evaluate"]["outs"][0]["md5"] = "other"
    refused(r"reports/metrics\.json: changed since evaluate wrote it \(dvc\.lock\)")
    Path("models/export/onnx/model.onnx").write_bytes(b"another")
    refused(r"models/export: changed since evaluate read it \(dvc\.lock\);")
    stages.clear()
    Path("reports/benchmark.json").write_text('{"artefacts": {}}')
    refused(r"reports/benchmark\.json: no figures of onnx-int8")
    Path("reports/MODEL_CARD.md").unlink()
    refused(r"reports/MODEL_CARD\.md: no such file or directory")
    shutil.rmtree("models/export/onnx-int8")
    refused("models/export/onnx-int8: no exported model")


def test_an_artefact_that_failed_parity_is_not_released(registry, tmp_path, monkeypatch):
    """Of folders in folders, as Core ML's are; nor is one released that nobody has compared with PyTorch."""
    export(tmp_path, gain=1.5)
    monkeypatch.chdir(tmp_path)
    for name in ("coreml", "coreml-int8", "tflite"):
        package = Path("models/export", name, "model.mlpackage/Data")
        package.mkdir(parents=True)
        (package / "weight.bin").write_bytes(name.encode())
        (package.parents[1] / "config.json").write_text("{}")
    metrics = json.loads(Path("reports/metrics.json").read_text())
    failed = {"passed": False, "failed": ["log-posteriors off by 3 (0.5 at most)"]}
    metrics["parity"] |= {"coreml": {"passed": True, "failed": []}, "coreml-int8": failed}
    Path("reports/metrics.json").write_text(json.dumps(metrics))
    version = register(registry)
    tags = registry.tags(version)
    assert {key: why for key, why in tags.items() if key.startswith("left_out/")} == {
        "left_out/coreml-int8": "log-posteriors off by 3 (0.5 at most)",
        "left_out/tflite": "parity was not measured",
    }
    kept = Path(registry.client.get_model_version_download_uri(NAME, version).removeprefix("file://")) / "artifacts"
    assert {path.name for path in kept.iterdir()} == {"onnx", "onnx-int8", "coreml", "metrics.json", "provenance.json"}
    assert (kept / "coreml/model.mlpackage/Data/weight.bin").read_bytes() == b"coreml"
    Path("models/export/coreml/model.mlpackage/Data/weight.bin").write_bytes(b"another")
    assert registered(registry) is None, "another file in a folder in a folder is another version"


def test_a_store_that_was_cut_off_while_it_was_built_is_built_again(tmp_path, monkeypatch):
    import mlflow

    def half_a_store(uri: str, registry_uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"SQLite format 3\0")
        raise KeyboardInterrupt

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "MlflowClient", half_a_store)
        with pytest.raises(KeyboardInterrupt):
            create_store(uri)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]
    create_store(uri)
    assert mlflow.MlflowClient(uri, uri).search_registered_models() == []


# MLflow is imported once, its stores are not opened: each attempt is a process of its own. SIGPROF, which nobody
# handles, ends it as abruptly as SIGKILL, after so much processor time: as far on a busy machine as on an idle one.
ATTEMPTS = """
import os, signal, sys, time
import mlflow.pyfunc, mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store
import ruamel.yaml, soundfile
from velocity.registry import Registry, register
for line in sys.stdin:
    if os.fork() == 0:
        seconds, operation, *arguments = line.split()
        registry = Registry()
        registry.champions()
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
        register(registry) if operation == "register" else getattr(registry, operation)(*arguments)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print("done", time.process_time() - began, flush=True)
        os._exit(0)
    os.wait()
    print("over", flush=True)
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> Registry:
    """The registry of another project, with a champion: slow tests run before those that expect an empty one."""
    monkeypatch.chdir(tmp_path)
    export(tmp_path, gain=1.0)
    write_speech(Path("a.wav"), "seven lamps", Path("models/export/onnx"))
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    registry.promote(register(registry), judged_beside=None)
    return registry


@pytest.fixture
def attempt(own):
    """Run an operation in a process of its own, up to so many seconds of processor time; those it took, if it ended."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": own.uri, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    attempts = subprocess.Popen([sys.executable, "-c", ATTEMPTS], text=True, env=environment, **pipes)

    def attempt(line: str, seconds: float = 0.0) -> float | None:
        print(seconds, line, file=attempts.stdin, flush=True)
        printed = list(iter(attempts.stdout.readline, "over\n"))
        return float(printed[0].split()[1]) if printed else None

    yield attempt
    attempts.stdin.close()
    attempts.wait()


@pytest.mark.slow
def test_a_kill_at_a_random_moment_leaves_a_registry_that_is_right(own, attempt):
    """Each operation once in peace, which measures its time; then killed, and tried again."""
    chance, took = random.Random(1), {}

    def check(*allowed: Champions) -> None:
        with own.alone() as now:
            assert now in allowed
        digests = [version.tags["digest"] for version in versions()]
        assert len(set(digests)) == len(digests)
        for version in {now.champion, now.previous, now.challenger} - {None}:
            assert VelocityASR.from_pretrained(f"models:/{NAME}/{version}").transcribe("a.wav") == "seven lamps"

    def versions() -> list:
        return own.client.search_model_versions(f"name = '{NAME}'")

    def cut_off(line: str, before: Champions, after: Champions) -> None:
        operation = line.split()[0]
        if operation in took:
            ended = attempt(line, chance.uniform(0.01, took[operation]))
            check(after if ended else before, after)
        if own.champions() != after:
            took.setdefault(operation, attempt(line))
            check(after)

    for gain in (3, 4):
        export(Path(), gain)
        start = own.champions()
        newest = str(max(int(version.version) for version in versions()) + 1)
        registered = Champions(start.champion, start.previous, newest)
        promoted = Champions(newest, start.champion, None)
        cut_off("register", start, registered)
        cut_off(f"promote {newest} {start.champion}", registered, promoted)
        cut_off(f"rollback {newest}", promoted, Champions(start.champion, start.previous, None))
    assert set(took) == {"register", "promote", "rollback"}


@contextmanager
def served(uri: str) -> Iterator[str]:
    """Serve a model as docs/releasing.md says, on a free port of this machine alone; yields the address."""
    port = str(free_port())
    Path("light/torch").mkdir(parents=True)
    Path("light/torch/__init__.py").write_text("raise ImportError('the server does without PyTorch')")
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "light"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", port]
    with open("serve.log", "w") as log:
        output = {"stdout": log, "stderr": log, "start_new_session": True}
        server = subprocess.Popen(command, env=os.environ | paths, **output)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, Path("serve.log").read_text()
            try:
                urllib.request.urlopen(f"{address}/ping")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def ask(address: str, request: bytes) -> tuple[int, dict]:
    question = urllib.request.Request(f"{address}/invocations", request, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(question) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def question(*recordings: bytes) -> bytes:
    rows = [[base64.b64encode(recording).decode()] for recording in recordings]
    return json.dumps({"dataframe_split": {"columns": ["audio"], "data": rows}}).encode()


@pytest.mark.slow
def test_the_champion_is_served_by_mlflow(own):
    recordings = [write_speech(Path(name), "seven lamps", Path("models/export/onnx")) for name in ("b.flac", "b.ogg")]
    with served(CHAMPION) as address:
        expected = {"predictions": [{"text": "seven lamps"}] * 2}
        assert ask(address, question(*(path.read_bytes() for path in recordings))) == (200, expected)
        for faulty, reason in (
            (question(recordings[0].read_bytes(), b"no recording"), "row 1: cannot be read as audio"),
            (b'{"dataframe_split": {"columns": ["sound"], "data": [["AAAA"]]}}', "missing inputs ['audio']"),
            (b'{"dataframe_split": {"columns": ["audio"], "data": [["/etc/passwd"]]}}', "Invalid input"),
            (b"no JSON", "valid JSON"),
        ):
            status, answer = ask(address, faulty)
            assert status == 400
            assert reason in answer["message"]
            assert "Traceback" not in json.dumps(answer)
