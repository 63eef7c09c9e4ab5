"""A project that was downloaded as ZIP, without `.git`: what works there, and what says that it needs git."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import dvc_commands, pipeline
from flows.workspaces import git
from velocity.errors import VelocityError

ROOT = Path(__file__).parents[2]
DVC = [sys.executable, "-m", "dvc"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small DVC project as it comes out of a ZIP file."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([*DVC, "init", "--no-scm", "--quiet"], check=True)
    Path(".dvc/config").write_bytes((ROOT / ".dvc/config").read_bytes())
    Path("dvc.yaml").write_text("stages:\n  one: {cmd: touch one.txt, outs: [one.txt]}\n")
    return tmp_path


def test_dvc_works_without_git_from_then_on(project, capsys):
    with pytest.raises(VelocityError, match="is not a git repository"):
        dvc_commands.stage_graph([])
    dvc_commands.settle_git()
    assert capsys.readouterr().err.startswith(
        "note: no git repository here, so DVC works without one; after `git init`:"
    )
    dvc_commands.settle_git()
    assert capsys.readouterr().err == ""  # said once
    assert dvc_commands.stage_graph([]) == {"one": set()}
    done = subprocess.run([*DVC, "repro"], capture_output=True, text=True)
    assert (done.returncode, Path("one.txt").exists()) == (0, True), done.stderr
    assert ".dvc/config" in {str(path) for path in Path(".dvc").glob("config")}
    assert Path(".dvc/config").read_bytes() == (ROOT / ".dvc/config").read_bytes()


@pytest.mark.parametrize("inside", [False, True])
def test_a_project_with_git_stays_as_it_is(project, monkeypatch, inside):
    subprocess.run(["git", "init", "--quiet"], check=True)
    if inside:  # a folder of the repository
        Path("deeper/.dvc").mkdir(parents=True)
        monkeypatch.chdir("deeper")
    dvc_commands.settle_git()
    assert not Path(".dvc/config.local").exists()


def test_what_needs_git_says_so(project):
    with pytest.raises(VelocityError, match=r"this needs a git repository, .*`make run` does without"):
        git("rev-parse", "HEAD")


def test_mistakes_in_params_show_before_prefect_starts(project, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "pipeline", None)
    text = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("  synthetic:\n", "  cv-17.0:\n"))
    with pytest.raises(SystemExit, match="1"):
        pipeline.main()
    expected = "error: params.yaml: corpora.cv-17.0: the name of a corpus may contain only letters, digits, - and _"
    assert capsys.readouterr().err.startswith(expected)
