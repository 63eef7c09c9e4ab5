"""Stage ``benchmark``: real-time factor, latency, memory and size of each artefact on this machine."""

from __future__ import annotations

from velocity.artefacts.target import targets
from velocity.config.evaluation import Benchmarking
from velocity.config.reader import load_section
from velocity.evaluation.speed import machine, measure, measure_once, rtf_name, runs_here
from velocity.files import write_json
from velocity.progress import track
from velocity.project import BENCHMARK, EXPORTED
from velocity.stages import run

MORE_THREADS = 2


def main() -> None:
    settings = load_section("benchmark", Benchmarking)
    folders = sorted(path for path in EXPORTED.iterdir() if path.is_dir())
    artefacts = {}
    for folder in track(folders, "benchmark", len(folders)):
        name, more = folder.name, rtf_name(MORE_THREADS)
        artefacts[name] = measure(folder, repeats=settings.repeats, lengths=settings.lengths, name=name)
        if runs_here(targets().get(name)):
            artefacts[name][more] = measure_once(folder, MORE_THREADS, settings.repeats, name=name)[more]
    write_json(BENCHMARK, {"machine": machine(), "artefacts": artefacts})


if __name__ == "__main__":
    run(main)
