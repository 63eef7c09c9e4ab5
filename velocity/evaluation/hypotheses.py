"""Recognise a whole test set and measure how long it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from velocity.errors import VelocityError
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
    utterances: list[Utterance]

    @property
    def audio_seconds(self) -> float:
        return sum(self.lengths)

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio."""
        return self.seconds / self.audio_seconds


def recognise(
    model: VelocityASR,
    utterances: Sequence[Utterance],
    title: str,
    workers: int = 1,
    confidences: bool = False,
    unreadable: list[str] | None = None,
) -> Recognition:
    """Transcribe ``utterances``, ``workers`` at a time; the real-time factor is meaningful for one worker only.

    With ``confidences`` words are aligned as well. An utterance that cannot be read is left out, with a line in
    ``unreadable``. Raises VelocityError without that list, and when no utterance can be read.
    """

    def transcribe(utterance: Utterance) -> tuple[str, list[float], int, float] | VelocityError:
        try:
            audio = utterance.samples()
        except VelocityError as error:
            if unreadable is None:
                raise
            return error
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
        results = list(track(pool.map(transcribe, utterances), title, len(utterances)))
    finally:
        pool.shutdown(cancel_futures=True)
    if unreadable is not None:
        unreadable += [str(result) for result in results if isinstance(result, VelocityError)]
    read = [index for index, result in enumerate(results) if not isinstance(result, VelocityError)]
    if not read:
        raise VelocityError(f"{title}: no utterance can be read{f'; {unreadable[-1]}' if unreadable else ''}")
    done = [results[index] for index in read]
    hypotheses, given, samples, seconds = zip(*done, strict=True)
    lengths = [count / model.config["sample_rate"] for count in samples]
    return Recognition(list(hypotheses), lengths, list(given), sum(seconds), [utterances[index] for index in read])
