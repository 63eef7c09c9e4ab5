"""What Prefect and MLflow add to plain DVC: `python -m flows.pipeline` with tracking beside `dvc repro` without.

Both run the same toy project in turn: a chain of stages that each log a training of some steps to MLflow, as the real
ones do, and leave a file. Chains of two lengths tell what a run costs from what a stage costs.

    python benchmarks/orchestration_overhead.py --rounds 3
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[1]
STAGE = """
import sys, time
from pathlib import Path
from velocity.journal import open_journal
number, seconds = int(sys.argv[1]), float(sys.argv[2])
journal = open_journal()
journal.params({"number": number})
for step in range(1, 101):
    journal.log({"step": step, "loss": 1 / step})
    time.sleep(seconds / 100)
Path(f"out{number}.txt").write_text(str(number))
journal.artifact(f"out{number}.txt")
"""
# As velocity.run does for a stage that keeps a journal.
RUN = """
import os, sys
from velocity.run import end_like, recorded, tracking_on
command = [sys.executable, "stage.py", *sys.argv[1:]]
if tracking_on():
    end_like(recorded(f"stage{sys.argv[1]}", command))
os.execv(sys.executable, command)
"""


def project(folder: Path, stages: int, seconds: float) -> None:
    folder.mkdir()
    (folder / "stage.py").write_text(STAGE)
    (folder / "run.py").write_text(RUN)
    (folder / "velocity").symlink_to(ROOT / "velocity")
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    chain = ["stages:"]
    for number in range(stages):
        before = f", out{number - 1}.txt" if number else ""
        chain.append(f"  stage{number}:\n    cmd: python run.py {number} {seconds}")
        chain.append(f"    deps: [stage.py{before}]\n    outs: [out{number}.txt]")
    (folder / "dvc.yaml").write_text("\n".join(chain) + "\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", *identity, "commit", "-qm", "start"],
    ):
        subprocess.run(command, cwd=folder, check=True)


def timed(command: list[str], folder: Path, tracking: str) -> tuple[float, float]:
    """Seconds of wall clock, and of processor time, which other work on the machine does not add to."""
    own = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VELOCITY_TRACKING": tracking}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    started, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", *command], cwd=folder, env=kept | own, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 3,
    short: Annotated[int, typer.Option(min=1, help="Stages of the short chain.")] = 2,
    long: Annotated[int, typer.Option(min=2, help="Stages of the long chain.")] = 8,
    seconds: Annotated[float, typer.Option(help="Length of a stage's training.")] = 1.0,
) -> None:
    """Print the seconds of each run by the clock and of the processor, and the medians' difference."""
    added: dict[int, list[tuple[float, float]]] = {short: [], long: []}
    for turn in range(rounds):
        for stages in (short, long):
            with tempfile.TemporaryDirectory() as temporary:
                project(Path(temporary, "plain"), stages, seconds)
                plain = timed(["dvc", "repro", "-q"], Path(temporary, "plain"), "off")
                project(Path(temporary, "flow"), stages, seconds)
                flow = timed(["flows.pipeline"], Path(temporary, "flow"), "on")
            added[stages].append((flow[0] - plain[0], flow[1] - plain[1]))
            times = [f"{name} {clock:.1f} s ({used:.1f} s)" for name, (clock, used) in (("dvc", plain), ("flow", flow))]
            print(f"round {turn + 1}, {stages} stages: {', '.join(times)}", flush=True)
    for kind, name in enumerate(("clock", "processor time")):
        less, more = (median(run[kind] for run in added[stages]) for stages in (short, long))
        each = (more - less) / (long - short)
        print(f"{name}: {more:.1f} s added to {long} stages; {each:.2f} s a stage, {less - short * each:.1f} s a run")


if __name__ == "__main__":
    typer.run(main)
