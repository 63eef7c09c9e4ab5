"""Throw damaged files at the reader: real containers mutated, and random bytes.

    python benchmarks/fuzz_reader.py --inputs 1000000 [--seed 1] [--keep crashes]
    python benchmarks/fuzz_reader.py --inputs 1000000 --bare          # libsndfile alone, which loses memory by itself
    python benchmarks/fuzz_reader.py --inputs 20000 --atheris         # pip install atheris: guided by coverage

Each input goes through ``load_audio``, and what can be read through features and voice activity. The only exception
allowed is VelocityError, on one line. A worker process does it, so that a crash of a decoder is seen, named and its
input kept; an input that takes longer than ``--hang`` seconds is one too. The worker's memory is followed. Input n
follows from the seed and n alone. Exit status: 0 clean, 1 something was found.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import soundfile

from velocity.audio import compute_mel_spectrogram, load_audio
from velocity.errors import VelocityError
from velocity.recognition.segmentation import periodicity

CONTAINERS = [  # format, subtype, rate
    ("WAV", "PCM_16", 16_000),
    ("WAV", "FLOAT", 8_000),
    ("WAV", "IMA_ADPCM", 8_000),
    ("WAVEX", "PCM_24", 44_100),
    ("W64", "PCM_16", 16_000),
    ("RF64", "PCM_16", 16_000),
    ("FLAC", "PCM_16", 16_000),
    ("FLAC", "PCM_24", 48_000),
    ("OGG", "VORBIS", 16_000),
    ("OGG", "OPUS", 16_000),
    ("MP3", "MPEG_LAYER_III", 16_000),
    ("AIFF", "PCM_16", 22_050),
    ("AU", "ULAW", 8_000),
    ("CAF", "PCM_16", 16_000),
    ("CAF", "ALAC_16", 16_000),
    ("VOC", "PCM_16", 8_000),
    ("NIST", "PCM_16", 16_000),
]
EDGES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"]
BATCH = 2_000  # inputs between two looks at the worker's memory
GROWTH = 16.0  # MB over the campaign that are no noise


def containers() -> list[bytes]:
    """A fiftieth of a second in every container."""
    made = []
    for form, subtype, rate in CONTAINERS:
        for channels in (1, 2):
            sound = 0.4 * np.sin(np.arange(rate // 50)[:, None] * np.array([0.1, 0.23])[:channels])
            file = io.BytesIO()
            soundfile.write(file, sound, rate, format=form, subtype=subtype)
            made.append(file.getvalue())
    return made


def mutated(number: int, seed: int, originals: list[bytes]) -> bytes:
    random = Random(seed << 40 | number)
    kind = random.random()
    if kind < 0.02:
        return random.randbytes(random.randrange(400))
    data = bytearray(random.choice(originals))
    if kind < 0.06:  # a true beginning, and then nothing true
        return bytes(data[: random.randrange(60)]) + random.randbytes(random.randrange(400))
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        place = random.randrange(min(len(data), 120) if random.random() < 0.6 else len(data)) if data else 0
        match random.randrange(8):
            case 0:
                data[place : place + 1] = bytes([random.randrange(256)])
            case 1:
                if data:
                    data[place] ^= 1 << random.randrange(8)
            case 2:
                value = random.choice(EDGES)
                data[place : place + len(value)] = value
            case 3:
                del data[place:]
            case 4:
                del data[place : place + random.randrange(1, 40)]
            case 5:
                data[place:place] = random.randbytes(random.randrange(1, 40))
            case 6:
                other = random.choice(originals)
                start = random.randrange(len(other))
                data[place : place + 64] = other[start : start + 64]
            case 7:  # one file after the other
                data += random.choice(originals)
    return bytes(data)


def check(path: Path, data: bytes) -> str:
    """What became of it; AssertionError or another exception when that is a fault."""
    path.write_bytes(data)
    try:
        samples = load_audio(path)
    except VelocityError as error:
        message = str(error)
        assert message.startswith(str(path)), f"an error without the file's name: {message!r}"
        assert message.isprintable(), f"an error that is no line: {message!r}"
        return message.removeprefix(f"{path}: ").rpartition("(")[2].rstrip(").0123456789 ") or "refused"
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples)
    mel = compute_mel_spectrogram(samples)
    assert np.isfinite(mel).all(), "features that are not numbers"
    assert len(periodicity(samples)) == -(-len(samples) // 320)
    return "read"


def bare(path: Path, data: bytes) -> str:
    """What libsndfile says to it, without this project's code."""
    path.write_bytes(data)
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(file.read(65_536, dtype="float32")):
                pass
    except Exception as error:  # whatever it is
        return type(error).__name__
    return "read"


def work(first: int, last: int, seed: int, path: Path, current: Any, reports: Any, tried: Any) -> None:
    """Try the inputs from ``first`` to ``last``, saying which is tried; report counts and memory, batch by batch."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders complain there themselves
    originals, found = containers(), Counter()
    for number in range(first, last):
        current.value = number
        try:
            found[tried(path, mutated(number, seed, originals))] += 1
        except Exception as error:
            reports.send((number, f"{type(error).__name__}: {error}", None))
        if (number + 1 - first) % BATCH == 0 or number + 1 == last:
            reports.send((number + 1, found, psutil.Process().memory_info().rss / 1e6))
            found = Counter()


def campaign(inputs: int, seed: int, hang: float, keep: Path, tried: Any = check) -> int:
    """Run it and print what was found; returns the number of faults."""
    context, originals = multiprocessing.get_context("spawn"), containers()
    outcomes, faults, sizes = Counter(), [], []
    started, done = time.monotonic(), 0
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        while done < inputs:
            current = context.Value("q", done, lock=False)
            receiving, sending = context.Pipe(duplex=False)
            arguments = (done, inputs, seed, Path(folder) / "input", current, sending, tried)
            worker = context.Process(target=work, args=arguments, daemon=True)
            worker.start()
            sending.close()
            reason = None
            while reason is None:
                before = current.value
                try:
                    if not receiving.poll(hang):
                        reason = f"no end after {hang:g} s" if current.value == before else None
                        continue
                    number, what, size = receiving.recv()
                except EOFError:
                    worker.join()
                    code = worker.exitcode or 0
                    reason = signal.Signals(-code).name if code < 0 else f"exit {code}" if code else ""
                    continue
                if size is None:
                    faults.append((number, what))
                else:
                    outcomes.update(what)
                    sizes.append((number, size))
                    if number % (50 * BATCH) == 0 or number == inputs:
                        rate = number / (time.monotonic() - started)
                        print(
                            f"{number}/{inputs}  {rate:.0f} a second  {size:.1f} MB  {len(faults)} faults", flush=True
                        )
            if worker.is_alive():
                worker.kill()
            worker.join()
            done = inputs if reason == "" else current.value + 1
            if reason:
                faults.append((done - 1, reason))
    for number, what in faults:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{seed}-{number}").write_bytes(mutated(number, seed, originals))
        print(f"FAULT: input {number}: {what}; kept as {keep}/{seed}-{number}")
    minutes = (time.monotonic() - started) / 60
    print(f"{inputs} inputs of seed {seed} in {minutes:.1f} min: {len(faults)} faults. What became of them:")
    for what, count in outcomes.most_common(12):
        print(f"  {count:>9}  {what}")
    return len(faults) + grown(sizes)


def grown(sizes: list[tuple[int, float]]) -> int:
    """Print how the worker's memory went, between the first tenth of its life and the last; 1 when it grew."""
    if not sizes:  # no worker lived long enough to tell
        return 0
    tenth = max(1, len(sizes) // 10)
    early, late = (
        np.median([size for _, size in part]) for part in (sizes[tenth : 2 * tenth] or sizes, sizes[-tenth:])
    )
    print(f"memory: {early:.1f} MB early, {late:.1f} MB at the end")
    return int(late - early > GROWTH)


def with_atheris(inputs: int, seed: int) -> None:
    """The same check under atheris, which learns from the Python code's coverage what mutations lead on."""
    import atheris

    with TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, data in enumerate(containers()):
            (corpus / str(number)).write_bytes(data)
        path = Path(folder) / "input"
        instrumented = atheris.instrument_func(check)
        arguments = [f"-runs={inputs}", f"-seed={seed}", "-max_len=4096", "-close_fd_mask=0", str(corpus)]
        atheris.Setup([sys.argv[0], *arguments], lambda data: instrumented(path, data))
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hang", type=float, default=60.0, help="seconds that one input may take")
    parser.add_argument("--keep", type=Path, default=Path("crashes"), help="where inputs that find a fault are kept")
    parser.add_argument("--bare", action="store_true", help="try libsndfile alone, to compare the memory")
    parser.add_argument("--atheris", action="store_true", help="let atheris make the inputs")
    options = parser.parse_args()
    if options.atheris:
        with_atheris(options.inputs, options.seed)
    else:
        tried = bare if options.bare else check
        sys.exit(1 if campaign(options.inputs, options.seed, options.hang, options.keep, tried) else 0)


if __name__ == "__main__":
    main()
