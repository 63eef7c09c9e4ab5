"""What the HTTP server costs: throughput and latency with 1, 2, 4 clients, beside the command on the same files.

    python benchmarks/server.py --jobs 2 --model models/export/onnx-int8

--files recordings of --seconds each are made by a synthesiser. The command takes them all in one process, and one of
them alone, so that its start can be taken off. Processor time is that of the process and its threads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile

from velocity.espeak import Espeak
from velocity.loopback import bypass_proxies

SENTENCE = "the quick brown fox jumps over the lazy dog and she sells sea shells by the sea shore"


def write_speech(folder: Path, files: int, seconds: float) -> list[Path]:
    """Recordings of equal length, each of another voice."""
    espeak, paths = Espeak(), []
    for index in range(files):
        voice = f"en+{'mf'[index % 2]}{1 + index % 4}"
        sentence = espeak.speak(SENTENCE, voice, 170 + index, 50, seed=index)
        samples = np.resize(sentence, round(seconds * espeak.rate))
        paths.append(folder / f"{index:03}.flac")
        soundfile.write(paths[-1], samples, espeak.rate)
    return paths


def command(files: list[Path], options: list[str]) -> tuple[float, float]:
    """(wall, processor) seconds of ``velocity-asr transcribe``."""
    before, started = os.times(), time.perf_counter()
    arguments = [sys.executable, "-m", "velocity.cli", "transcribe", *map(str, files), *options, "--format", "json"]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def through_server(url: str, pid: int, files: list[Path], clients: int) -> dict:
    """``clients`` send all the files, each its next one when it has its answer."""
    latencies = []

    def send(file: Path) -> None:
        started = time.perf_counter()
        with open(file, "rb") as audio:
            httpx.post(f"{url}/audio/transcriptions", files={"file": audio}, timeout=600).raise_for_status()
        latencies.append(time.perf_counter() - started)

    before, started = processor_seconds(pid), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, files))
    wall = time.perf_counter() - started
    middle, high = np.percentile(latencies, (50, 95))
    return {"wall": wall, "processor": processor_seconds(pid) - before, "latency": middle, "latency_p95": high}


def processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--model", help="default: as of velocity-asr transcribe")
    arguments = parser.parse_args()
    bypass_proxies()
    chosen = ["--model", arguments.model] if arguments.model else []
    audio = arguments.files * arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        files = write_speech(Path(folder), arguments.files, arguments.seconds)
        one, all_files = command(files[:1], chosen), command(files, chosen)
        taken = audio - arguments.seconds
        rows = [["transcribe, one process", (all_files[0] - one[0]) / taken, (all_files[1] - one[1]) / taken, "", ""]]
        serve = [sys.executable, "-m", "velocity.cli", "serve", "--port", "0", "--jobs", str(arguments.jobs), *chosen]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            url = server.stdout.readline().split()[-1]
            through_server(url, server.pid, files[:2], 1)
            for clients in arguments.clients:
                result = through_server(url, server.pid, files, clients)
                milliseconds = [f"{1000 * result[name]:.0f} ms" for name in ("latency", "latency_p95")]
                title = f"server, {clients} client{'s' * (clients > 1)}"
                rows.append([title, result["wall"] / audio, result["processor"] / audio, *milliseconds])
        finally:
            server.terminate()
            server.wait(60)
    print(f"{arguments.files} files of {arguments.seconds:g} s, --jobs {arguments.jobs}, {os.cpu_count()} processors")
    print("| | wall, s a second of audio | processor, s a second | latency, median | 95 % |\n|---|---|---|---|---|")
    for title, wall, processor, *latencies in rows:
        print(f"| {title} | {wall:.4f} | {processor:.4f} | {' | '.join(latencies)} |")


if __name__ == "__main__":
    main()
