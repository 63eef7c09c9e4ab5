"""A project small enough to be drilled: a synthesiser's speech, real training, a real Prefect server and schedule.

Two words of four an utterance; STEPS of training, 20 s on one free core, tell them apart on voices it has not heard.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings
from ruamel.yaml import YAML

from flows.processes import locked
from flows.retrain import LOCK
from flows.services import HOST, Service, Services
from tests.servers.conftest import free_port
from velocity.corpora.kinds.synthetic import SyntheticCorpus
from velocity.corpora.synthetic import VOICES, synthesise_corpus
from velocity.registry import NAME, VERDICT, Registry

ROOT = Path(__file__).parents[2]
EVERY = 15  # seconds between two scheduled runs
PATIENCE = 1500.0  # seconds for one of them, on a machine that does other things

TEST = ["adam", "belinda", "david", "f1", "f3", "klatt", "lee", "m1"]
VALIDATION = ["alex", "annie", "denis"]
FIRST = ["antonio", "f2"]  # the voices that there are at first to train on
TARGETS = ("onnx", "onnx-int8")
STEPS = 160  # of a training
TOO_FEW = 20  # leave a model that hears nothing, in integers as in floating point: a first one, or a worse one

SERVE = f"""
from flows.retrain import retrain

if __name__ == "__main__":
    quiet = {{"pause_on_shutdown": False, "print_starting_message": False}}
    retrain.serve(name="drill", interval={EVERY}, limit=1, parameters={{"promote": "%s"}}, **quiet)
"""


class Drill:
    """The project, and what runs beside it: Prefect's server, and the process that serves the scheduled deployment."""

    def __init__(self, folder: Path, running: Services) -> None:
        self.folder, self.running = folder, running
        self.voices = folder.parent / "voices"
        self.port = free_port()
        self.api = f"http://{HOST}:{self.port}/api"
        self.server: Service | None = None
        self.scheduler: Service | None = None

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "PREFECT_HOME": str(self.folder.parent / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "VELOCITY_TRACKING": "off",  # of single stages; the registry is the project's own mlflow.db
        }
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW"))}
        return given | own

    def run(self, *command: str, status: int = 0) -> str:
        """In the project's folder; what it printed."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, text=True, capture_output=True)
        assert done.returncode == status, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def make(self, steps: int, promote: str = "better") -> None:
        """The project with this checkout's code and a small model, and the voices that may come to it.

        ``promote``: as of the flow ``retrain``.
        """
        synthesise(self.voices)
        ignore = shutil.ignore_patterns("__pycache__", "velocity-asr-*", "*.lm")
        for name in ("velocity", "flows"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=ignore)
        (self.folder / "data").mkdir()
        for name in (".gitignore", "data/.gitignore", "data/accepted.json", "models/random.safetensors"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        yaml = YAML()
        stages = yaml.load(ROOT / "dvc.yaml")
        exported = stages["stages"]["export"]["foreach"]
        for target in set(exported) - set(TARGETS):
            del exported[target]
        yaml.dump(stages, self.folder / "dvc.yaml")
        yaml.dump(parameters(), self.folder / "params.yaml")
        (self.folder / "serve.py").write_text(SERVE % promote)
        self.deliver("first", [*TEST, *VALIDATION, *FIRST])
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        self.commit("start", steps)

    def commit(self, message: str, steps: int) -> None:
        """With so many steps of training."""
        yaml, path = YAML(), self.folder / "params.yaml"
        params = yaml.load(path)
        params["finetune"]["optimisation"].update(steps=steps, validate_every=steps)
        yaml.dump(params, path)
        self.run("git", "add", ".")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", message)

    def deliver(self, name: str, speakers: list[str] | None = None) -> Path:
        """Put speakers' recordings (default: all that are not there) into the source, in one move."""
        source = self.folder / "speech"
        there = {path.name for path in source.glob("*/*")}
        new = self.folder.parent / name
        for speaker in speakers or sorted({path.name for path in self.voices.iterdir()} - there):
            shutil.copytree(self.voices / speaker, new / speaker)
        source.mkdir(exist_ok=True)
        return new.rename(source / name)

    @contextmanager
    def between_runs(self) -> Iterator[None]:
        """While no retraining runs: what comes while one reads the source may be taken for read."""
        with locked(self.folder / LOCK, "a retraining runs"):
            yield

    def start(self) -> None:
        """Whatever does not run: the server, the process that serves the deployment."""
        if self.server is None or self.server.process.poll() is not None:
            command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(self.port)]
            self.server = self.running.start("server", command, self.environment)
            self.server.wait_for(f"{self.api}/health", 600)
        if self.scheduler is None or self.scheduler.process.poll() is not None:
            command = ["env", f"--chdir={self.folder}", sys.executable, "serve.py"]
            self.scheduler = self.running.start("scheduler", command, self.environment)

    def runs(self) -> list[FlowRun]:
        """All that have begun, the first one first."""
        with temporary_settings({PREFECT_API_URL: self.api}), get_client(sync_client=True) as client:
            found = client.read_flow_runs(sort=FlowRunSort.START_TIME_ASC, limit=200)
        return [run for run in found if run.start_time]

    def ended(self) -> set[UUID]:
        return {run.id for run in self.runs() if run.state.is_final()}

    def wait_for(self, *names: str, after: set[UUID], beside: tuple[str, ...] = ("Nothing new",)) -> FlowRun:
        """The first run that ends in a state of one of ``names``, other than those of ``after``.

        States of ``beside`` may come before it; any other end is an error.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for run in self.runs():
                if run.id not in after and run.state.is_final():
                    if run.state.name in names:
                        return run
                    assert run.state.name in beside, f"{run.state.name}: {run.state.message}\n{self.log()}"
            time.sleep(0.5)
        raise AssertionError(f"no run ended in {names}: {[run.state for run in self.runs()]}\n{self.log()}")

    def flow_runs(self) -> list[psutil.Process]:
        """The processes in which runs go on. Those of a scheduler that was killed work on without it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it may end while it is looked at, or be another user's
                if "spawn_main" in " ".join(process.cmdline()) and Path(process.cwd()) == self.folder.resolve():
                    found.append(process)
        return found

    def processes(self) -> list[psutil.Process]:
        """Of the run that is going on: the flow's, DVC's, the stage's; none between two runs."""
        found = []
        for run in self.flow_runs():
            with suppress(psutil.NoSuchProcess):
                found += [run, *run.children(recursive=True)]
        return found

    def victims(self) -> dict[str, psutil.Process]:
        """Who may be killed now: the two servers, the flow's run, and what works for it, by what it is."""
        victims = {
            "server": psutil.Process(self.server.process.pid),
            "scheduler": psutil.Process(self.scheduler.process.pid),
        }
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = " ".join(process.cmdline())
                if "spawn_main" in command:
                    victims["flow run"] = process
                elif what := re.search(r"-m dvc .*(?<= )(\S+)$|-m velocity\.(stages\.\S+|cli \S+)", command):
                    victims["dvc" if what[1] else what[2].replace("stages.", "stage ")] = process
        return victims

    def kill_run(self) -> None:
        """Every process of it, as a machine that goes down."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def log(self, whole: bool = False) -> str:
        """What the runs have printed."""
        text = self.scheduler.log.read_text(errors="replace") if self.scheduler else ""
        return text if whole else text[-5000:]

    @cached_property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.folder}/mlflow.db")

    def versions(self) -> dict[str, str | None]:
        """Version → what the gate made of it."""
        found = self.registry.client.search_model_versions(f"name = '{NAME}'")
        return {str(version.version): version.tags.get(VERDICT) for version in found}


def parameters() -> Any:
    params = YAML().load(ROOT / "params.yaml")
    params["threads"] = 1
    among = lambda names: f"^({'|'.join(names)})$"  # noqa: E731
    corpus = {"kind": "folder", "source": "speech", "test": among(TEST), "validation": among(VALIDATION)}
    params["corpora"] = {"digits": corpus}
    params["model"].update(dim=48, blocks=2, half_rate=1, state=16, head_dim=24, ffn=96, dropout=0.0)
    params["model"].update(context_layers=1, context_state=8, attention_heads=2, attention_head_dim=16)
    params["pretrain"]["probe"]["utterances"] = 0
    params["pretrain"]["optimisation"].update(steps=2, checkpoint_every=2, validate_every=2, batch_seconds=10)
    params["finetune"]["qat_start"] = 0.5
    params["finetune"]["augmentation"].update(speeds=[1.0], noise=0.0, gain_db=0.0, time_masks=0, frequency_masks=0)
    params["finetune"]["optimisation"].update(devices=1, batch_seconds=10, learning_rate=0.008, checkpoint_every=20)
    params["calibrate"]["utterances"] = 20
    params["evaluate"].update(bootstrap=50, worst=3)
    params["benchmark"].update(repeats=2, lengths=[1.0, 3.0])
    params["gate"].update(rounds=21, rtf_tolerance=2.0)  # the models are of one size, the machine may be busy
    return params


def synthesise(folder: Path) -> None:
    """960 utterances of two words out of four, by 31 speakers."""
    yaml = YAML()
    grammar = yaml.load(VOICES)
    grammar.update(sentences=["{0-3} {0-3}"], rules={})
    source = folder.with_name("digits.yaml")
    yaml.dump(grammar, source)
    synthesise_corpus(SyntheticCorpus(kind="synthetic", source=str(source), utterances=960, voices=40), 1, folder)


def wait_until(true: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.1)
