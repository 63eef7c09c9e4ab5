"""Seconds to go on in the middle of an epoch, and the memory that takes.

    python benchmarks/sampling.py --utterances 500000 --folder FOLDER

Writes a manifest of N utterances of metadata (LibriSpeech's lengths, no audio) below --folder, then plans batches from
the middle of epoch 7. Peak memory is that of the whole process, PyTorch and Lhotse included (printed before, too).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from velocity.data.batches import BLOCK, Position, plan_batches
from velocity.files import atomic_path

BATCHES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=500_000)
    parser.add_argument("--batch-seconds", type=float, default=600.0)
    parser.add_argument("--folder", type=Path, required=True, help="takes 0.6 GB a million utterances")
    arguments = parser.parse_args()
    path = arguments.folder / f"sampling-{arguments.utterances}.jsonl"
    if not path.exists():
        write_manifest(path, arguments.utterances)
    figures = {"utterances": arguments.utterances, "memory_of_imports_mb": peak_mb()}
    middle = Position(7, arguments.utterances // BLOCK // 2, 100)
    started = time.perf_counter()
    plan = plan_batches(path, arguments.batch_seconds, seed=1, start=middle)
    position, _ = next(plan)
    assert position == middle
    figures["seconds_to_go_on"] = round(time.perf_counter() - started, 2)
    started = time.perf_counter()
    for _ in range(BATCHES):
        next(plan)
    figures["milliseconds_a_batch"] = round((time.perf_counter() - started) / BATCHES * 1000, 2)
    figures["peak_memory_mb"] = peak_mb()
    print(json.dumps(figures, indent=2))


def write_manifest(path: Path, utterances: int) -> None:
    random = np.random.default_rng(0)
    with atomic_path(path) as partial, open(partial, "w") as file:
        for number in range(utterances):
            seconds = round(min(17.0, max(1.2, random.normal(12.3, 3.8))), 3)
            name = f"librispeech/{number % 2000:04d}-{number:08d}"
            audio = {"type": "file", "channels": [0], "source": f"data/raw/librispeech/{name}.flac"}
            recording = {"id": name, "sources": [audio], "sampling_rate": 16_000,
                         "num_samples": round(seconds * 16_000), "duration": seconds, "channel_ids": [0]}  # fmt: skip
            supervision = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds, "channel": 0,
                           "text": "SOME WORDS OF A SENTENCE " * 7, "language": "en", "speaker": f"{number % 2000}",
                           "custom": {"corpus": "librispeech", "synthetic": False}}  # fmt: skip
            cut = {"id": name, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [supervision],
                   "recording": recording, "type": "MonoCut"}  # fmt: skip
            file.write(json.dumps(cut) + "\n")


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
