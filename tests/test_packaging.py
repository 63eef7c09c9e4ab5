"""What the lock pins, what the wheel holds, and what installing it brings."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
PINNED = dict(line.split("==") for line in LOCK)


def test_the_lock_pins_versions_and_names_no_place_to_get_them_from():
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in LOCK)


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_the_lock_satisfies_every_requirement(extra):
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, requirements):
        if requirement.name != PROJECT["name"] and (requirement.marker is None or requirement.marker.evaluate()):
            assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.9"])  # 3.11.2 is Debian 12's
def test_the_lock_holds_what_its_packages_need_on_any_python_3_11(python):
    environment = {"python_full_version": python, "extra": ""}
    for distribution in importlib.metadata.distributions():
        if canonicalize_name(distribution.name) not in PINNED:
            continue
        for requirement in map(Requirement, distribution.requires or []):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert canonicalize_name(requirement.name) in PINNED, f"{distribution.name} needs {requirement}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    for name in ("velocity", "flows", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    (folder / "dist").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=folder, check=True, capture_output=True)
    return zipfile.ZipFile(next((folder / "dist").glob("velocity_asr-*.whl")))


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    held = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    files = [path for path in (ROOT / "velocity").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert held == {path.relative_to(ROOT).as_posix() for path in files}


def test_installing_the_wheel_brings_only_the_light_runtime(wheel):
    metadata_file = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = Parser().parsestr(wheel.read(metadata_file).decode())
    requirements = map(Requirement, metadata.get_all("Requires-Dist"))
    light = {"numpy", "onnxruntime", "wasmtime", "soundfile", "soxr", "sentencepiece"}
    light |= {"jiwer", "typer", "rich", "jinja2"}
    assert {requirement.name for requirement in requirements if requirement.marker is None} == light
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_targets_and_the_ci_run_what_they_promise():
    promised = {"run": ["-m flows.pipeline"], "test": ['-m "not slow"'], "test-all": ['-m "not slow"', "-m slow"]}
    for target, commands in promised.items():
        make = ["make", "--dry-run", target]
        planned = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert all(command in planned for command in commands), target
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.findall(r"^make (\S+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE) == ["test"]


@pytest.mark.parametrize("checkout", [True, False])
def test_without_an_installation_the_version_is_the_checkouts(checkout, tmp_path):
    (tmp_path / "velocity").mkdir()
    shutil.copy(ROOT / "velocity/__init__.py", tmp_path / "velocity")
    if checkout:
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
    program = "import velocity; print(velocity.__version__)"  # -S: without site-packages, nothing is installed
    command = [sys.executable, "-S", "-c", program]
    found = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True).stdout.strip()
    assert found == (PROJECT["version"] if checkout else "unknown")


def test_recognising_leaves_nothing_in_the_users_folders(tmp_path):
    """onnxruntime would keep records of its use there."""
    program = "from velocity import VelocityASR; VelocityASR.from_pretrained('velocity-asr-v2')"
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | places
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=ROOT)
    assert not list(tmp_path.rglob("*"))
