"""Recordings without a text: the base's own transcripts, where it is confident, are trained on (self-training, as in
Kahn et al. 2020, "Self-training for end-to-end speech recognition")."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from velocity.adaptation.workspace import Workspace
from velocity.audio import SAMPLE_RATE, load_audio
from velocity.corpora.collection import Spoken
from velocity.files import atomic_directory, write_json
from velocity.progress import track
from velocity.recognition.decoding.words import Word
from velocity.recognition.offline import VelocityASR

SPEAKER = "untranscribed"
LEAST_CONFIDENCE = 0.8  # geometric mean over the words of a passage
FEWEST_WORDS = 2
INDEX = "transcripts.json"


def transcribed(workspace: Workspace, base: Path, recordings: Sequence[Path]) -> list[Spoken]:
    """The passages of ``recordings`` that ``base`` is confident of, cut out into the workspace, with its text.

    It decodes with its language model, if it has one. Prints how much there is. Raises VelocityError for a recording
    that cannot be read.
    """
    folder = workspace.folder / "transcribed"
    workspace.announce("transcribe")
    workspace.step("transcribe", partial(_transcribe, base, recordings, folder))
    return [
        Spoken(folder / name, text, SPEAKER, seconds)
        for name, text, seconds in json.loads((folder / INDEX).read_text())
    ]


def _transcribe(base: Path, recordings: Sequence[Path], folder: Path) -> None:
    import soundfile

    model, heard, kept = VelocityASR(base), 0.0, []
    with atomic_directory(folder) as partial_folder:
        for path in track(recordings, "transcribe", len(recordings)):
            samples = load_audio(path)
            heard += len(samples) / SAMPLE_RATE
            for passage in model.passages(samples):
                if confidence(passage.words) >= LEAST_CONFIDENCE:
                    span = samples[round(passage.start * SAMPLE_RATE) : round(passage.end * SAMPLE_RATE)]
                    name = f"{len(kept):05d}.flac"
                    soundfile.write(partial_folder / name, span, SAMPLE_RATE)
                    kept.append([name, passage.text, len(span) / SAMPLE_RATE])
        write_json(partial_folder / INDEX, kept)
    sure = sum(seconds for _, _, seconds in kept)
    print(f"adapt: sure of {sure:.0f} of {heard:.0f} s without a text, in {len(kept)} passages", file=sys.stderr)


def confidence(words: Sequence[Word]) -> float:
    """0 to 1; 0 for fewer than FEWEST_WORDS."""
    if len(words) < FEWEST_WORDS:
        return 0.0
    return float(np.exp(np.mean(np.log([max(word.confidence, 1e-9) for word in words]))))
