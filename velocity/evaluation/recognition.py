"""Recognise a whole test set: hypotheses beside references, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Sequence
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


def recognise(model: VelocityASR, utterances: Sequence[Utterance], title: str) -> Recognition:
    """Transcribe ``utterances`` one by one. Raises VelocityError when one cannot be read."""
    hypotheses, samples, seconds = [], 0, 0.0
    for utterance in track(utterances, title, len(utterances)):
        audio = utterance.samples()
        started = time.perf_counter()
        hypotheses.append(normalize(model.transcribe(audio)))
        seconds += time.perf_counter() - started
        samples += len(audio)
    return Recognition(hypotheses, samples / model.config["sample_rate"], seconds)
