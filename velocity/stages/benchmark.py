"""Stage ``benchmark``: real-time factor, latency, memory and size of each artefact on this machine."""

from __future__ import annotations

from pathlib import Path

from velocity.config import load_params
from velocity.evaluation.speed import machine, measure, measure_once, rtf_name, runs_here
from velocity.files import write_json
from velocity.progress import track
from velocity.stages import run

EXPORTED = Path("models/export")
OUTPUT = Path("reports/benchmark.json")
MORE_THREADS = 2


def main() -> None:
    params = load_params().benchmark
    folders = sorted(path for path in EXPORTED.iterdir() if path.is_dir())
    artefacts = {}
    for folder in track(folders, "benchmark", len(folders)):
        artefacts[folder.name] = measure(folder, repeats=params.repeats, lengths=params.lengths)
        if runs_here(folder):
            name = rtf_name(MORE_THREADS)
            artefacts[folder.name][name] = measure_once(folder, MORE_THREADS, params.repeats)[name]
    write_json(OUTPUT, {"machine": machine(), "artefacts": artefacts})


if __name__ == "__main__":
    run(main)
