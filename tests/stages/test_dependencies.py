"""The code that dvc.yaml lists is what the stages import, and no change to anything else makes a stage stale."""

import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.dependencies import PIPELINE, ROOT, closure, stages, with_code

STAGES = stages((ROOT / PIPELINE).read_text())
TRAINED = ("pretrain", "finetune", "calibrate")
# What may change without a new training: docs/developing.md gives this list.
HARMLESS = (
    "velocity/adaptation", "velocity/artefacts", "velocity/cli", "velocity/commands", "velocity/corpora",
    "velocity/gate", "velocity/registry", "velocity/run.py", "velocity/runtime.py", "velocity/server",
    "velocity/tracking",
    "velocity/web", "velocity/recognition/offline.py", "velocity/recognition/streaming.py",
    "velocity/recognition/segmentation.py", "velocity/recognition/decoding/beam.py",
    "velocity/stages/report.py", "velocity/stages/benchmark.py", "velocity/stages/evaluate.py",
    "velocity/stages/export.py", "velocity/integrity.py",
    "velocity/evaluation/report.py", "velocity/evaluation/page.py", "velocity/evaluation/plots.py",
    "velocity/config/params.py", "velocity/config/corpora.py", "velocity/config/data.py", "velocity/config/gate.py",
    "velocity/config/evaluation.py", "flows", "docs", "README.md", "tests",
)  # fmt: skip
SPEECH = ("velocity/data/validation.py", "velocity/data/drift.py", "velocity/data/expectations.py",
          "velocity/data/splits.py", "velocity/data/cuts.py")  # fmt: skip
FOR_EXPORT = ("velocity/cli", "velocity/commands", "velocity/gate", "velocity/registry", "velocity/run.py",
              "velocity/tracking", "velocity/server", "velocity/stages/report.py", "velocity/evaluation/report.py",
              "velocity/evaluation/plots.py", "velocity/evaluation/page.py", "flows")  # fmt: skip
CLOSURES = {stage: closure(f"velocity.stages.{stage}") for stage in STAGES}
# One module of each kind: imported at once and late, by all and by one, an __init__.py, a file that is no Python.
SAMPLE = [
    "velocity/__init__.py", "velocity/config/model.py", "velocity/config/evaluation.py", "velocity/files.py",
    "velocity/stages/inputs.py", "velocity/training/objectives/best_rq.py", "velocity/quantization/linear.py",
    "velocity/data/splits.py", "velocity/corpora/kinds/librispeech.py", "velocity/recognition/decoding/beam.py",
    "velocity/cli/app.py", "velocity/evaluation/plots.py",
]  # fmt: skip


def test_dvc_yaml_lists_what_the_stages_import():
    text = (ROOT / PIPELINE).read_text()
    assert with_code(text) == text, "run python -m flows.dependencies"
    empty = [file for files in CLOSURES.values() for file in files if (ROOT / file).stat().st_size == 0]
    assert empty == [], "DVC warns of empty files whenever it runs: give them a docstring"
    folders = [ROOT / file for files in CLOSURES.values() for file in files if (ROOT / file).is_dir()]
    compiled = [folder for folder in folders if list(folder.rglob("*.py"))]
    assert compiled == [], "the bytes of what Python compiles there differ from clone to clone"


def listed(stage: str, where: tuple[str, ...]) -> set[str]:
    return {file for file in CLOSURES[stage] for start in where if file == start or file.startswith(f"{start}/")}


@pytest.mark.parametrize("stage", TRAINED)
def test_what_does_not_change_a_training_is_no_dependency_of_it(stage):
    assert listed(stage, (*HARMLESS, *SPEECH)) == set()


def test_evaluation_is_no_dependency_of_training_nor_reports_of_export():
    for stage in ("pretrain", "finetune"):
        assert listed(stage, ("velocity/evaluation",)) == set()
        decoding = listed(stage, ("velocity/recognition",)) - {"velocity/recognition/__init__.py"}
        assert decoding == {f"velocity/recognition/decoding/{name}.py" for name in ("__init__", "greedy")}
    assert listed("export", FOR_EXPORT) == set()


def test_only_the_stages_that_start_other_commands_depend_on_the_command_line():
    assert {stage for stage in STAGES if listed(stage, ("velocity/cli",))} == {"benchmark"}


def write(folder: Path, **modules: str) -> None:
    """``a_b="…"`` → velocity/a/b.py."""
    for name, source in modules.items():
        path = folder.joinpath("velocity", *name.split("_")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_stem({"init": "__init__", "main": "__main__"}.get(path.stem, path.stem)).write_text(source)


def test_every_way_to_import_is_followed(tmp_path):
    write(
        tmp_path,
        init='_MODULES = {"late": "velocity.late"}\ndef __getattr__(name): ...',
        late="import velocity.later",
        later="",
        unused="",
        typed="",
        app_init="",
        app_main="from velocity.a import b",
        a="b = 1",
        records_init="",
        records_one="",
        records_two="import velocity.c",
        c="",
        stages_init="",
        stages_x="""
from typing import TYPE_CHECKING
from velocity import late
from velocity.discovery import modules
if TYPE_CHECKING:
    from velocity import typed
def run():
    start([python, "-m", "velocity.app"])
    for module in model.modules(): ...
    return modules("velocity.records")
""",
        discovery="def modules(package): return import_module(package)",
    )
    found = closure("velocity.stages.x", tmp_path)
    every = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.py")}
    assert every - found == {"velocity/unused.py", "velocity/typed.py"}


def test_an_import_that_cannot_be_followed_is_refused(tmp_path):
    write(tmp_path, init="", computed="import_module(f'velocity.{name}')", relative="from . import x")
    with pytest.raises(ValueError, match=r"computed\.py:1: imports a computed name"):
        closure("velocity.computed", tmp_path)
    with pytest.raises(ValueError, match="a relative import"):
        closure("velocity.relative", tmp_path)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The pipeline's code in a project of its own whose data are stand-ins, all stages up to date."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "pretrained")
    shutil.copytree(ROOT / "velocity", folder / "velocity", ignore=ignored)
    for name in (PIPELINE, "params.yaml", "models/random.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    with chdir(folder), Repo.init() as repo:
        paths = {Path(item.fs_path) for stage in repo.index.stages for item in (*stage.deps, *stage.outs)}
        folders = {parent for path in paths for parent in path.parents}
        for path in paths - folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(path.name)
        repo.commit(force=True)
    return folder


def changed_in_turn(folder: Path, files: list[str]) -> dict[str, set[str]]:
    """File → the stages that DVC finds stale when it alone has changed.

    Of a stage for each corpus or target, the first stands for all: their code is the same.
    """
    with chdir(folder), Repo() as repo, repo.lock:
        stages = {stage.addressing.partition("@")[0]: stage for stage in reversed(list(repo.index.stages))}

        def stale() -> set[str]:
            return {name for name, stage in stages.items() if stage.status()}

        assert stale() == set()
        found = {}
        for file in files:
            path = folder / file
            content = path.read_bytes()
            path.write_bytes(content + b"\n")
            found[file] = stale()
            path.write_bytes(content)
        assert stale() == set()
        return found


def importing(file: str) -> set[str]:
    return {stage for stage, files in CLOSURES.items() if file in files}


def test_dvc_names_the_stages_that_import_a_changed_module(project):
    assert changed_in_turn(project, SAMPLE) == {file: importing(file) for file in SAMPLE}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_dvc_names_the_stages_that_import_each_module(project):
    files = sorted(file for file in set().union(*CLOSURES.values()) if file.endswith(".py"))
    assert len(files) > 100
    assert changed_in_turn(project, files) == {file: importing(file) for file in files}


def test_a_training_depends_on_the_weights_that_it_starts_from_alone(project):
    def upstream(start_from: str) -> set[str]:
        params = project / "params.yaml"
        before = params.read_text()
        params.write_text(before.replace("start_from: pretrained", f"start_from: {start_from}"))
        try:
            with chdir(project), Repo() as repo:
                graph = repo.index.graph
                (finetune,) = (stage for stage in graph if stage.addressing == "finetune")
                return {stage.addressing for stage in graph.successors(finetune)}
        finally:
            params.write_text(before)

    assert "pretrain" not in upstream("random")
    assert upstream("pretrained") == {*upstream("random"), "pretrain"}
