"""Prefect's server is not there: the command says so in one line, and the same command does the work without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from httpx import ConnectError

from flows.pipeline import told_in_one_line

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9/api"


def test_a_server_that_is_down_at_the_start_is_one_line(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages:\n  one: {cmd: touch one.txt, outs: [one.txt]}\n")
    shutil.copytree(ROOT / "flows", tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "velocity").symlink_to(ROOT / "velocity")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "flows.pipeline"]
    own = {key: value for key, value in os.environ.items() if key != "PREFECT_HOME"} | {"PREFECT_API_URL": NOWHERE}
    ended = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == f"error: Failed to reach API at {NOWHERE}/\n"
    assert not (tmp_path / "one.txt").exists()


def test_a_server_that_goes_away_leaves_the_stages_and_a_line_that_says_what_to_do(capsys):
    with pytest.raises(SystemExit) as ended, told_in_one_line("stages"):
        raise ConnectError("Connection refused")
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Prefect's server does not answer (Connection refused); the finished stages are kept")
    assert "unset PREFECT_API_URL" in line
