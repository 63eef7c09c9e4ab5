"""Stage ``benchmark``: real-time factor, latency, memory and size of each artefact on this machine."""

from __future__ import annotations

from pathlib import Path

from velocity.config import load_params
from velocity.evaluation.speed import machine, measure
from velocity.files import write_json
from velocity.progress import track
from velocity.stages import run

ARTEFACTS = [Path("models/export/onnx"), Path("models/export/onnx-int8")]
OUTPUT = Path("reports/benchmark.json")


def main() -> None:
    params = load_params().benchmark
    artefacts = {
        folder.name: measure(folder, repeats=params.repeats, lengths=params.lengths)
        for folder in track(ARTEFACTS, "benchmark", len(ARTEFACTS))
    }
    write_json(OUTPUT, {"machine": machine(), "artefacts": artefacts})


if __name__ == "__main__":
    run(main)
