"""Speed of ``validate`` and ``prepare``: the stages, run as DVC runs them, in a folder of their own.

    python benchmarks/data_speed.py [--folder PATH] [--utterances 6000] [--parts]

Without ``--folder`` (speech in LibriSpeech layout) the embedded synthetic corpus is made first, that many utterances.
``--parts`` runs each stage once more under Python's profiler and shows what its main thread waited for; the profiler
slows it down a little.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("validate", "prepare")
SHOWN = 0.02  # of a stage's time: smaller parts are left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a corpus in LibriSpeech layout")
    parser.add_argument("--utterances", type=int, default=6000, help="of the synthetic corpus")
    parser.add_argument("--parts", action="store_true", help="where the time goes")
    options = parser.parse_args()
    with TemporaryDirectory() as workspace:
        write_params(Path(workspace), options)
        run_stage(workspace, "fetch", "speech")
        lines = Path(workspace, "data/manifests/speech/recordings.jsonl").read_text(encoding="utf-8").splitlines()
        audio = sum(json.loads(line)["duration"] for line in lines)
        print(f"{len(lines)} recordings, {audio / 3600:.2f} h")
        total = 0.0
        for stage in STAGES:
            seconds, processor = run_stage(workspace, stage)
            total += seconds
            print(
                f"{stage:10} {seconds:7.1f} s  {audio / seconds:7.0f}× real time  ({processor:.1f} s of processor time)"
            )
        print(f"{'together':10} {total:7.1f} s  {audio / total:7.0f}× real time")
        if options.parts:
            for stage in STAGES:
                shutil.rmtree(Path(workspace, "data/parts"), ignore_errors=True)
                run_stage(workspace, stage, profile=True)
                show_parts(stage, pstats.Stats(str(Path(workspace, "profile"))))


def write_params(workspace: Path, options: argparse.Namespace) -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    params = yaml.load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    if options.folder:
        corpus = {"kind": "folder", "source": str(options.folder.resolve()), "test": 0.1, "validation": 0.05}
    else:
        source = str(PROJECT / "velocity/corpora/commands.yaml")
        corpus = {**params["corpora"]["synthetic"], "source": source, "utterances": options.utterances}
    yaml.dump({**params, "corpora": {"speech": corpus}}, workspace / "params.yaml")
    (workspace / "data").mkdir()
    (workspace / "data/accepted.json").write_text("{}\n", encoding="utf-8")  # no version to compare with


def run_stage(workspace: str, stage: str, *arguments: str, profile: bool = False) -> tuple[float, float]:
    """Wall-clock and processor seconds of ``python -m velocity.stages.<stage>``."""
    command = [sys.executable, *(["-m", "cProfile", "-o", "profile"] if profile else [])]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "-m", f"velocity.stages.{stage}", *arguments], cwd=workspace, env=environment, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show_parts(stage: str, stats: pstats.Stats) -> None:
    """What the stage's ``main`` calls, by the time spent in it and below."""
    page = next(key for key in stats.stats if key[0].endswith(f"stages/{stage}.py") and key[2] == "main")
    parts = {key[2]: callers[page][3] for key, (*_, callers) in stats.stats.items() if page in callers}
    print(f"{stage}, profiled: {stats.total_tt:.1f} s")
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        if seconds > SHOWN * stats.total_tt:
            print(f"  {seconds:6.1f} s  {name}")


if __name__ == "__main__":
    main()
