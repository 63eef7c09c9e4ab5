"""What a test set costs when it is quieter, louder, behind silence, or spoken partly from far away.

    python benchmarks/conditions.py                                                     # the synthetic default
    python benchmarks/conditions.py --model velocity-asr-v2 --test-set CORPUS --only '^118-' --utterances 40
    python benchmarks/conditions.py --model velocity-asr-v2-streaming --live --test-set CORPUS

--test-set is a folder in LibriSpeech layout, a manifest or a name, as for `velocity-asr evaluate`; --only keeps the
utterances whose id matches, of which --utterances are taken, evenly spaced. INT8, with the model's language model if it
has one; with --live, each recording is a stream in pieces of 320 ms. Each row has the paired 95 % interval of the
difference from the unchanged recordings, in points of WER.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.commands.models import find_artefact
from velocity.evaluation.testset import load_test_set
from velocity.evaluation.wer import Score, bootstrap, score
from velocity.progress import track
from velocity.recognition.offline import VelocityASR
from velocity.recognition.streaming import StreamingASR
from velocity.text import normalize

SEED = 0
PIECE = 5120  # samples: 320 ms
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (samples,) float32 at 16 kHz → the same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/export")
    parser.add_argument("--test-set", default="synthetic-test")
    parser.add_argument("--only", default="", help="regular expression on the ids of utterances")
    parser.add_argument("--utterances", type=int, default=120)
    parser.add_argument("--live", action="store_true", help="the model is one for live audio")
    options = parser.parse_args()

    transcribe = live(options.model) if options.live else VelocityASR(find_artefact(options.model, True)).transcribe
    _, everything = load_test_set(options.test_set)
    chosen = [utterance for utterance in everything if re.search(options.only, utterance.id)]
    chosen = chosen[:: max(1, len(chosen) // options.utterances)][: options.utterances]
    chosen = chosen[: len(chosen) // 2 * 2]
    references = [normalize(utterance.text) for utterance in chosen]

    def recognise(name: str, recordings: list[np.ndarray]) -> list[str]:
        return [
            normalize(transcribe(samples.astype(np.float32))) for samples in track(recordings, name, len(recordings))
        ]

    def report(name: str, found: Score, before: Score) -> None:
        low, high = bootstrap(found.word_errors - before.word_errors, found.words)
        print(f"{name:40} {100 * found.wer:5.1f} %  {100 * low:+5.1f} to {100 * high:+5.1f}", flush=True)

    recordings = [utterance.samples() for utterance in chosen]
    unchanged = score(references, recognise("unchanged", recordings))
    report("unchanged", unchanged, unchanged)
    for name, change in changes().items():
        random = np.random.default_rng(SEED)
        changed = [change(samples, random) for samples in recordings]
        report(name, score(references, recognise(name, changed)), unchanged)

    name, quiet = "two utterances, 8 s of zeros between", np.zeros(8 * SAMPLE_RATE)
    pairs = [np.concatenate([one, quiet, two]) for one, two in zip(recordings[::2], recordings[1::2], strict=True)]
    together = [f"{one} {two}" for one, two in zip(references[::2], references[1::2], strict=True)]
    apart = Score(*(counts[::2] + counts[1::2] for counts in vars(unchanged).values()))
    report(name, score(together, recognise(name, pairs)), apart)


def live(name: str) -> Callable[[np.ndarray], str]:
    model = StreamingASR.from_pretrained(name, quantized=True)

    def transcribe(samples: np.ndarray) -> str:
        events = model.transcribe_stream(np.split(samples, range(PIECE, len(samples), PIECE)))
        return " ".join(event.text for event in events if event.type == "final")

    return transcribe


def changes() -> dict[str, Change]:
    """Name → what is done to an utterance before it is recognised."""
    found: dict[str, Change] = {}
    for decibels in (-10, -20, -30, -40, 20):
        found[f"gain of {decibels} dB"] = lambda samples, random, by=10 ** (decibels / 20): samples * by
    for level, what in ((0.0, "zeros"), (10 ** (-65 / 20), "noise at -65 dB")):
        for seconds in (1, 3, 10, 60):
            found[f"{seconds} s of {what} before it"] = lambda samples, random, n=seconds, level=level: np.concatenate(
                [level * random.standard_normal(n * SAMPLE_RATE), samples]
            )
    for half, gains in (("first", (0.1, 1.0)), ("second", (1.0, 0.1))):
        found[f"its {half} half at -20 dB"] = lambda samples, random, gains=gains: np.concatenate(
            [gain * part for gain, part in zip(gains, np.array_split(samples, 2), strict=True)]
        )
    return found


if __name__ == "__main__":
    main()
