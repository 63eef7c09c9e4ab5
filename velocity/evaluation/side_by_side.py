"""The speed of several artefacts in turn, in one process: figures that may be compared, on a busy machine as well.

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
    command = [sys.executable, "-m", "velocity.evaluation.side_by_side", str(rounds), *map(str, artefacts.values())]
    told = subprocess.run(command, env=os.environ | ONE_THREAD, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = dict(zip(artefacts, json.loads(told), strict=True))
    return {name: figures(took, seconds[baseline]) for name, took in seconds.items()}


def figures(took: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """Of the seconds that an artefact and the baseline took in the same rounds."""
    ratios = [own / other for own, other in zip(took, baseline, strict=True)]
    return {"rtf": round(statistics.median(took) / CLIP, 6), "rtf_ratio": round(statistics.median(ratios), 4)}


def _take_turns(folders: Sequence[str], rounds: int) -> list[list[float]]:
    """The seconds of each folder in each round, after one to warm up; every round starts with another folder."""
    from velocity.runtime import VelocityASR

    models = [VelocityASR(folder) for folder in folders]
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(CLIP * SAMPLE_RATE), dtype=np.float32)
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(rounds + 1):
        for index in [(turn + offset) % len(models) for offset in range(len(models))]:
            begun = time.perf_counter()
            models[index](compute_mel_spectrogram(samples))
            seconds[index].append(time.perf_counter() - begun)
    return [took[1:] for took in seconds]


if __name__ == "__main__":
    print(json.dumps(_take_turns(sys.argv[2:], int(sys.argv[1]))))
