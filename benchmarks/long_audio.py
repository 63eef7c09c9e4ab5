"""Long audio against short: memory, speed, words at the joints, and words where nobody speaks.

    python benchmarks/long_audio.py [--model M] [--speech FOLDER] [--hours 2] [--noise FILE]... [--parts memory,speed]

``--speech`` is what `velocity-asr evaluate --test-set` takes, such as a folder in LibriSpeech layout; without it the
test set of the embedded synthetic corpus. Its utterances, joined with pauses of 0.3 to 1 s, are the long recording.

memory  peak of `velocity-asr transcribe` for one minute and for ``--hours``, each in a process of its own
speed   an hour as one file, beside the same utterances one by one: processor seconds a second of audio
joints  words of an hour as one recording, beside those of its utterances alone
noise   an hour each of silence, white and pink noise, hum, and every ``--noise`` file repeated
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jiwer
import numpy as np
import soundfile

from velocity.audio import SAMPLE_RATE, load_audio
from velocity.commands.models import find_artefact
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.recognition.offline import VelocityASR

PARTS = ("memory", "speed", "joints", "noise")
PEAK = """
import resource, sys
from velocity.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, file=sys.stderr)
"""


def recording(utterances: list[Utterance], seconds: float) -> Iterator[tuple[np.ndarray, Utterance]]:
    """Utterances in a drawn order, each with a pause after it, again and again for ``seconds``."""
    random = np.random.default_rng(1)
    left = seconds * SAMPLE_RATE
    while left > 0:
        for index in random.permutation(len(utterances)):
            pause = np.zeros(round(random.uniform(0.3, 1.0) * SAMPLE_RATE), dtype=np.float32)
            spoken = np.concatenate([utterances[index].samples(), pause])
            yield spoken, utterances[index]
            left -= len(spoken)
            if left <= 0:
                return


def memory(model: Path, utterances: list[Utterance], hours: float) -> None:
    with TemporaryDirectory() as folder:
        peaks = {}
        for name, seconds in (("minute", 60.0), ("long", hours * 3600)):
            file = Path(folder) / f"{name}.flac"
            with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1) as audio:
                for spoken, _ in recording(utterances, seconds):
                    audio.write(spoken)
            command = [sys.executable, "-c", PEAK, "transcribe", str(file), "--model", str(model), "--format", "json"]
            started = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks[name] = float(done.stderr.split()[-1])
            took, length = time.perf_counter() - started, soundfile.info(file).duration
            print(f"memory: {length:7.0f} s of audio, peak {peaks[name]:.0f} MB, in {took:.1f} s")
        print(f"memory: {peaks['long'] - peaks['minute']:+.1f} MB beside one minute")


def speed(model: VelocityASR, utterances: list[Utterance]) -> None:
    spoken = [samples for samples, _ in recording(utterances, 3600.0)]
    length = sum(map(len, spoken)) / SAMPLE_RATE
    model.transcribe(spoken[0])
    short = long = 0.0
    for start in range(0, len(spoken), 100):  # in turn, so that another load of the machine meets both alike
        part = spoken[start : start + 100]
        begun = time.process_time()
        for samples in part:
            list(model.passages(samples))
        between = time.process_time()
        list(model.passages(iter(part)))
        short, long = short + between - begun, long + time.process_time() - between
    print(f"speed: {length:.0f} s of audio in {len(spoken)} utterances: RTF {short / length:.5f} one by one, ", end="")
    print(f"{long / length:.5f} joined ({100 * (long / short - 1):+.1f} %)")


def joints(model: VelocityASR, utterances: list[Utterance]) -> None:
    parts = list(recording(utterances, 3600.0))
    reference = " ".join(utterance.text for _, utterance in parts)
    alone = " ".join(model.transcribe(samples) for samples, _ in parts)
    joined = model.transcribe(samples for samples, _ in parts)
    for name, text in (("alone", alone), ("joined", joined)):
        print(f"joints: {name}: WER {100 * jiwer.wer(reference, text):.2f} %, {len(text.split())} words", end="")
        print(f" of {len(reference.split())}")


def noises(files: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, some minutes of (samples,) float32)."""
    random, time_axis = np.random.default_rng(0), np.arange(600 * SAMPLE_RATE) / SAMPLE_RATE
    white = random.standard_normal(len(time_axis))
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(white))
    pink /= pink.std()
    hum = sum(np.sin(2 * np.pi * 50 * n * time_axis) / n for n in (1, 2, 3, 5))
    made = {
        "silence": 0 * white,
        "dither": 1e-5 * white,
        "white noise, -40 dB": 0.01 * white,
        "white noise, -20 dB": 0.1 * white,
        "white noise, full scale": random.uniform(-1, 1, len(white)),
        "pink noise, -40 dB": 0.01 * pink,
        "pink noise, -20 dB": 0.1 * pink,
        "hum of 50 Hz and hiss": 0.05 * hum + 0.003 * white,
    }
    for name, samples in made.items():
        yield name, samples.astype(np.float32)
    for file in files:
        yield file.stem, load_audio(file)


def noise(model: VelocityASR, files: list[Path]) -> None:
    for name, samples in noises(files):
        repeats = -(-3600 * SAMPLE_RATE // len(samples))
        texts = [passage.text for passage in model.passages(samples for _ in range(repeats)) if passage.text]
        text = " ".join(texts)
        print(f"noise: an hour of {name}: {len(text.split())} words {text[:40]!r}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--speech", default="synthetic-test", help="folder in LibriSpeech layout, or a test set's name")
    parser.add_argument("--only", help="speakers whose name matches, such as '[05]$'")
    parser.add_argument("--hours", type=float, default=2.0, help="of the long recording whose memory is measured")
    parser.add_argument("--noise", type=Path, action="append", default=[], help="a recording without speech")
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    folder = find_artefact(options.model, quantized=True)
    model, parts = VelocityASR(folder), options.parts.split(",")
    name, utterances = load_test_set(options.speech)
    if options.only:
        utterances = [u for u in utterances if re.search(options.only, u.path.parts[-3])]
    print(f"{folder}, {len(utterances)} utterances of {name}")
    if "memory" in parts:
        memory(folder, utterances, options.hours)
    if "speed" in parts:
        speed(model, utterances)
    if "joints" in parts:
        joints(model, utterances)
    if "noise" in parts:
        noise(model, options.noise)


if __name__ == "__main__":
    main()
