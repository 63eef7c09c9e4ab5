"""Recognise a whole test set and measure how long it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from velocity.evaluation.testset import Utterance
from velocity.progress import track
from velocity.recognition.offline import VelocityASR
from velocity.text import normalize


@dataclass(frozen=True)
class Recognition:
    """One entry an utterance, in their order."""

    hypotheses: list[str]  # normalised
    lengths: list[float]  # seconds of audio
    confidences: list[list[float]]  # of the hypothesis's words, in [0, 1]; empty unless requested
    seconds: float  # features and recognition, without reading the files

    @property
    def audio_seconds(self) -> float:
        return sum(self.lengths)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio."""
        return self.seconds / self.audio_seconds


def recognise(
    model: VelocityASR, utterances: Sequence[Utterance], title: str, workers: int = 1, confidences: bool = False
) -> Recognition:
    """Transcribe ``utterances``, ``workers`` at a time; the real-time factor is meaningful for one worker only.

    With ``confidences`` words are aligned as well. Raises VelocityError when an utterance cannot be read.
    """

    def transcribe(utterance: Utterance) -> tuple[str, list[float], int, float]:
        audio = utterance.samples()
        started = time.perf_counter()
        if confidences:
            passages = list(model.passages(audio))
            text = " ".join(passage.text for passage in passages)
            values = [word.confidence for passage in passages for word in passage.words]
        else:
            text, values = model.transcribe(audio), []
        return normalize(text), values, len(audio), time.perf_counter() - started

    pool = ThreadPoolExecutor(workers)  # onnxruntime and NumPy release the GIL while they compute
    try:
        done = list(track(pool.map(transcribe, utterances), title, len(utterances)))
    finally:
        pool.shutdown(cancel_futures=True)
    hypotheses, given, samples, seconds = zip(*done, strict=True)
    lengths = [count / model.config["sample_rate"] for count in samples]
    return Recognition(list(hypotheses), lengths, list(given), sum(seconds))
