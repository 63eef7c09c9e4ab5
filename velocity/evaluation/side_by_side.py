"""The speed of several artefacts in turn, in one process: figures that may be compared, on a busy machine as well.

What is counted is processor time, of all threads of the process. Time on the clock also counts the waiting for a
processor that others use: beside trainings on both cores, medians of 60 ratios of a model to itself were 0.97 to 1.06
by the clock and 0.99 to 1.01 by processor time.

``python -m velocity.evaluation.side_by_side ROUNDS FOLDER…`` is that process: it prints the seconds of each folder's
rounds as JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.evaluation.speed import CLIP

ROUNDS = 21
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def side_by_side(artefacts: Mapping[str, Path], baseline: str, rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """{name: {"rtf": seconds of work a second of audio, "rtf_ratio": times the baseline's}}, one thread, features in.

    Both are medians over the rounds; a ratio is taken within a round, so that a machine that is slower for a while is
    so for both. The audio is noise: what a recogniser costs depends on the length of its input alone.
    """
    seconds = dict(zip(artefacts, take_turns(list(artefacts.values()), rounds), strict=True))
    return {name: figures(took, seconds[baseline]) for name, took in seconds.items()}


def take_turns(folders: Sequence[Path], rounds: int = ROUNDS) -> list[list[float]]:
    """The seconds of processor time that each artefact takes for ``CLIP`` seconds of audio in each of the rounds."""
    command = [sys.executable, "-m", "velocity.evaluation.side_by_side", str(rounds), *map(str, folders)]
    told = subprocess.run(command, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told)


def figures(took: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Of the seconds that an artefact and the baseline took in the same rounds."""
    ratios = [own / other for own, other in zip(took, baseline, strict=True)]
    return {"rtf": round(statistics.median(took) / CLIP, 6), "rtf_ratio": round(statistics.median(ratios), 4)}


def _take_turns_here(folders: Sequence[str], rounds: int) -> list[list[float]]:
    """After one round to warm up; every round starts with another folder."""
    from velocity.runtime import VelocityASR

    models = [VelocityASR(folder) for folder in folders]
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(CLIP * SAMPLE_RATE), dtype=np.float32)
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(rounds + 1):
        for index in [(turn + offset) % len(models) for offset in range(len(models))]:
            begun = time.process_time()
            models[index](compute_mel_spectrogram(samples))
            seconds[index].append(time.process_time() - begun)
    return [took[1:] for took in seconds]


if __name__ == "__main__":
    print(json.dumps(_take_turns_here(sys.argv[2:], int(sys.argv[1]))))
