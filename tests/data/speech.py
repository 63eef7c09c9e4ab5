"""Cuts with audio for the tests of batches and shards."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from velocity.data.manifests import to_line, write_lines


def speak(folder: Path, utterances: int) -> list[MonoCut]:
    """Cuts of 0.5 to 1.5 seconds of noise at full scale, 16-bit FLAC at 16 kHz, with a text each."""
    random, cuts = np.random.default_rng(7), []
    for number in range(utterances):
        path = folder / f"{number:03d}.flac"
        samples = random.integers(-32768, 32768, random.integers(8000, 24_000)).astype(np.int16)
        soundfile.write(path, samples, 16_000)
        recording = Recording.from_file(path, recording_id=f"corpus/{number:03d}.x")
        text = "".join(random.choice(list("abcde"), 6))
        segment = SupervisionSegment(recording.id, recording.id, 0.0, recording.duration, text=text, speaker="s")
        cuts.append(MonoCut(recording.id, 0.0, recording.duration, 0, supervisions=[segment], recording=recording))
    return cuts


def save_cuts(cuts: list[MonoCut], path: Path) -> None:
    write_lines(path, (to_line(cut.to_dict()) for cut in cuts))
