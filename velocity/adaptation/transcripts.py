"""Recordings without a text: the base's own transcripts, where it is confident, are trained on."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from velocity.adaptation.workspace import Workspace
from velocity.audio import SAMPLE_RATE, load_audio
from velocity.corpora.collection import Spoken
from velocity.files import atomic_directory, write_json
from velocity.progress import track
from velocity.recognition.offline import VelocityASR
from velocity.recognition.pseudo_labels import CONFIDENCE, pseudo_labels

SPEAKER = "untranscribed"
INDEX = "transcripts.json"


def transcribed(workspace: Workspace, base: Path, recordings: Sequence[Path]) -> list[Spoken]:
    """The utterances of ``recordings`` that ``base`` is confident of, cut out into the workspace, with its text.

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

    model, given, kept = VelocityASR(base), 0.0, []
    with atomic_directory(folder) as partial_folder:
        for path in track(recordings, "transcribe", len(recordings)):
            samples = load_audio(path)
            seconds = len(samples) / SAMPLE_RATE
            given += seconds
            for label in pseudo_labels(model.passages(samples), seconds, CONFIDENCE):
                cut, name = label.cut(samples), f"{len(kept):05d}.flac"
                soundfile.write(partial_folder / name, cut, SAMPLE_RATE)
                kept.append([name, label.text, len(cut) / SAMPLE_RATE])
        write_json(partial_folder / INDEX, kept)
    sure = sum(seconds for _, _, seconds in kept)
    print(f"adapt: sure of {sure:.0f} of {given:.0f} s without a text, in {len(kept)} utterances", file=sys.stderr)
