"""A disk that is full while an artefact is written: one line, nothing half-written, and the same command goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# No file may grow beyond LIMIT bytes: what a full disk does to whoever writes one, told by the system in other words.
STAGE = """
import resource, sys
import numpy as np
from safetensors.numpy import save_file
from velocity.files import atomic_directory, atomic_path, write_text
from velocity.stages import run

def weights():
    with atomic_path("weights.safetensors") as file:
        save_file({"a": np.zeros(50_000, np.float32)}, file)

def report():
    write_text("report.md", "x" * 200_000)

def export():
    with atomic_directory("export") as folder:
        (folder / "config.json").write_text("{}")
        (folder / "model.onnx").write_bytes(bytes(200_000))

limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
run({"weights": weights, "report": report, "export": export}[sys.argv[1]])
"""


@pytest.mark.parametrize("what", ["weights", "report", "export"])
def test_nothing_is_half_written_and_the_same_command_goes_on(what, tmp_path):
    def stage(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", STAGE, what, str(limit)]
        return subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)

    refused = stage(100_000)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("; free some space and run the same command again")
    assert list(tmp_path.iterdir()) == []
    assert stage(0).returncode == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_other_faults_keep_their_traceback(tmp_path):
    program = "from velocity.stages import run; run(lambda: open('missing/file'))"
    fault = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert fault.returncode == 1
    assert "Traceback" in fault.stderr
