"""Recognise a whole test set: hypotheses beside references, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from velocity.evaluation.testset import Utterance
from velocity.progress import track
from velocity.runtime import VelocityASR
from velocity.text import normalize


@dataclass(frozen=True)
class Recognition:
    hypotheses: list[str]  # normalised, in the order of the utterances
    audio_seconds: float
    seconds: float  # features and recognition, without reading the files

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work a second of audio."""
        return self.seconds / self.audio_seconds


def recognise(model: VelocityASR, utterances: Sequence[Utterance], title: str, workers: int = 1) -> Recognition:
    """Transcribe ``utterances``, ``workers`` at a time; the real-time factor holds for one alone.

    Raises VelocityError when one cannot be read.
    """

    def transcribe(utterance: Utterance) -> tuple[str, int, float]:
        audio = utterance.samples()
        started = time.perf_counter()
        text = model.transcribe(audio)
        return normalize(text), len(audio), time.perf_counter() - started

    pool = ThreadPoolExecutor(workers)  # onnxruntime and NumPy let go of the interpreter's lock while they compute
    try:
        done = list(track(pool.map(transcribe, utterances), title, len(utterances)))
    finally:
        pool.shutdown(cancel_futures=True)
    hypotheses, samples, seconds = zip(*done, strict=True)
    return Recognition(list(hypotheses), sum(samples) / model.config["sample_rate"], sum(seconds))
