"""The workflows: what they call is there, what they may do is little, and what they run is not for others to change."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHERS = {"cat", "cml"}  # of the runner, and of CML


def faults(text: str) -> Iterator[str]:
    """What is wrong with a workflow."""
    workflow = YAML(typ="safe").load(text)
    if "pull_request_target" in workflow["on"]:
        yield "runs foreign code with this repository's rights"
    if workflow.get("permissions") != {"contents": "read"}:
        yield "may do more than read"
    for job in workflow["jobs"].values():
        yield from faults_of_job(job)


def faults_of_job(job: dict) -> Iterator[str]:
    writes = "write" in job.get("permissions", {}).values()
    for step in job["steps"]:
        uses, script = step.get("uses", ""), step.get("run", "")
        if uses and not PINNED.fullmatch(uses):
            yield f"{uses}: not pinned"
        if uses.startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
            yield "leaves a token in the checkout"
        if "${{" in script:
            yield f"{script}: whoever names a branch writes this script"
        for command in commands(script):
            program, *words = command.split()
            if program == "make" and not set(words) <= TARGETS:
                yield f"{command}: no such target"
            if program != "make" and program not in OTHERS:
                yield f"{command}: not one of the project's commands"
            if program == "make" and writes:
                yield f"{command}: runs the pull request's code with the right to write"
            if command == "make ci" and not any(
                other.get("with", {}).get("fetch-depth") == 0 for other in job["steps"] if "uses" in other
            ):
                yield f"{command}: without the history, it does not find the base"
        secrets = set(re.findall(r"secrets\.(\w+)", str(step)))
        if secrets - {"GITHUB_TOKEN"} or (secrets and not writes):
            yield f"{sorted(secrets)}: secrets where nothing needs them"


def commands(script: str) -> Iterator[str]:
    """The simple commands of a shell script."""
    for part in re.split(r"\|\||&&|[;|\n]", script.replace("\\\n", " ")):
        if part.strip():
            yield part.strip()


def test_there_are_workflows_and_they_call_what_is_there():
    called = {path.stem: set(re.findall(r"run: make ([\w-]+)", path.read_text())) for path in FILES}
    assert {"lint", "test"} <= called["tests"]
    assert "ci" in called["model"]
    assert "test-all" in called["nightly"]
    triggers = YAML(typ="safe").load(ROOT / ".github/workflows/nightly.yml")["on"]
    assert triggers["schedule"]
    assert triggers["push"] == {"tags": ["v*"]}, "a release starts with its tag"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_has_no_fault(path):
    assert list(faults(path.read_text())) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("  pull_request:", "  pull_request_target:", "foreign code"),
        ("contents: read\n\nconc", "contents: write\n\nconc", "may do more than read"),
        ("setup-python@v6.2.0", "setup-python@main", "not pinned"),
        ("run: make ci", "run: make sea", "no such target"),
        ("run: make install", "run: pip install .", "not one of the project's commands"),
        ("fetch-depth: 0, ", "", "without the history"),
        ("cml comment update", "make install\n          cml comment update", "with the right to write"),
        ('VELOCITY_TRACKING: "off"', "KEY: ${{ secrets.KEY }}", "secrets where nothing needs them"),
        ('--target="$TARGET"', "--target=${{ github.head_ref }}", "whoever names a branch"),
        ("fetch-depth: 0, persist-credentials: false", "fetch-depth: 0", "leaves a token"),
    ],
)
def test_a_fault_is_seen(right, wrong, fault):
    text = (ROOT / ".github/workflows/model.yml").read_text()
    assert right in text
    assert any(fault in found for found in faults(text.replace(right, wrong, 1)))
