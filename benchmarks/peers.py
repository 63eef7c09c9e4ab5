"""Other small recognisers beside this one, in one run, in turn, on the same sounds: speed, memory, size, error rate.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers.txt
    python benchmarks/peers.py --speech FOLDER --peers-python peers/bin/python [--only REGEX] [--json FILE]

``--speech`` is a test set as for `velocity-asr evaluate`. Each recogniser is a process held to so many processors, one
or two. The real-time factor is the median over rounds, in which all take turns with 10 s of that speech; that of the
processor counts the work of all threads, and on a machine that does other things as well it is the one to go by. The
cold start is a whole process: Python, the model, and the text of 10 s. Peers that are not installed are passed over.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

from velocity.audio import SAMPLE_RATE
from velocity.evaluation.markdown import rate, table
from velocity.evaluation.speed import machine
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.evaluation.wer import measure_test_set
from velocity.text import normalize

PEER = Path(__file__).with_name("peer.py")
OURS = "velocity-asr"
NAMES = (OURS, "moonshine-tiny", "whisper-tiny.en", "pocketsphinx")
CLIP = 10.0
COLD_STARTS = 3


class Peer:
    """A recogniser at work in its process."""

    def __init__(self, name: str, threads: int, python: str, model: str | None) -> None:
        self.name, self.threads = name, threads
        chosen = ["--model", model] if model and name == OURS else []
        self.command = [sys.executable if name == OURS else python, str(PEER), name, str(threads), *chosen]

    def __enter__(self) -> Peer:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.about = json.loads(line) if line else None  # None: not installed there
        return self

    def __exit__(self, *raised: object) -> None:
        self.process.kill()
        self.process.communicate()

    def hear(self, path: Path) -> dict[str, Any]:
        print(path, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def cold_start(self, clip: Path) -> float:
        command = [*self.command, "--once", str(clip)]
        if self.name == OURS:  # by the command that people type
            wav = clip.with_suffix(".wav")
            soundfile.write(wav, np.load(clip), SAMPLE_RATE)
            model = self.command[self.command.index("--model") + 1] if "--model" in self.command else "velocity-asr-v2"
            command = [sys.executable, "-m", "velocity.cli", "transcribe", str(wav), "--model", model]
            command += ["--threads", str(self.threads)]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--only", default="", help="regular expression on utterances' names")
    parser.add_argument("--utterances", type=int, default=100, help="of the test set, at most")
    parser.add_argument("--peers-python", default=sys.executable)
    parser.add_argument("--model", help="folder of ours; the shipped velocity-asr-v2 by default")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lengths", type=float, nargs="+", default=[1, 10, 60, 600, 3600], help="seconds of audio")
    parser.add_argument("--peers-longest", type=float, default=60, help="of these, for the peers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    _, utterances = load_test_set(options.speech)
    chosen = [utterance for utterance in utterances if re.search(options.only, utterance.id)][: options.utterances]
    speech = np.concatenate([utterance.samples() for utterance in chosen])
    results: dict[str, Any] = {"machine": machine(), "speech": f"{len(chosen)} utterances", "threads": {}}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for threads in options.threads:
            with ExitStack() as stack:
                started = [Peer(name, threads, options.peers_python, options.model) for name in NAMES]
                peers = [peer for peer in map(stack.enter_context, started) if peer.about]
                for missing in {peer.name for peer in started} - {peer.name for peer in peers}:
                    print(f"{missing}: not installed for {options.peers_python}; passed over", file=sys.stderr)
                measured = results["threads"][threads] = speeds(peers, speech, folder, options.rounds)
                print(markdown(results), file=sys.stderr, flush=True)
                if threads == options.threads[0]:
                    for peer in peers:
                        lengths = [s for s in options.lengths if peer.name == OURS or s <= options.peers_longest]
                        measured[peer.name]["scaling"] = scaling(peer, speech, folder, lengths)
                        measured[peer.name]["errors"] = error_rate(peer, chosen, folder)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(markdown(results))


def cut(speech: np.ndarray, seconds: float, folder: Path, first: float = 0.0) -> Path:
    """So much of the speech, from ``first`` seconds on, again from its beginning where it ends."""
    path = folder / f"{seconds:g}-{first:g}.npy"
    places = (np.arange(round(seconds * SAMPLE_RATE)) + round(first * SAMPLE_RATE)) % len(speech)
    np.save(path, speech[places])
    return path


def speeds(peers: list[Peer], speech: np.ndarray, folder: Path, rounds: int) -> dict[str, Any]:
    took: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    clip = cut(speech, CLIP, folder)
    cold = {peer.name: [peer.cold_start(clip) for _ in range(COLD_STARTS)] for peer in peers}
    for turn in range(rounds + 1):
        clip = cut(speech, CLIP, folder, first=turn * CLIP)
        for place in range(len(peers)):
            peer = peers[(place + turn) % len(peers)]
            took[peer.name].append(peer.hear(clip))
        print(f"round {turn} of {rounds}", file=sys.stderr, flush=True)
    return {
        peer.name: {
            "bytes": peer.about["bytes"],
            "rtf": median(took[peer.name][1:], "seconds") / CLIP,
            "processor_rtf": median(took[peer.name][1:], "processor_seconds") / CLIP,
            "peak_rss_bytes": took[peer.name][-1]["peak_rss_bytes"],
            "cold_start_seconds": statistics.median(cold[peer.name]),
        }
        for peer in peers
    }


def median(answers: list[dict[str, Any]], key: str) -> float:
    return statistics.median(answer[key] for answer in answers)


def scaling(peer: Peer, speech: np.ndarray, folder: Path, lengths: list[float]) -> list[list[float]]:
    """[seconds of audio, processor's real-time factor, peak memory in bytes so far] each."""
    found = []
    for seconds in lengths:
        answers = [peer.hear(cut(speech, seconds, folder)) for _ in range(3 if seconds <= 60 else 1)]
        found.append([seconds, median(answers, "processor_seconds") / seconds, answers[-1]["peak_rss_bytes"]])
    return found


def error_rate(peer: Peer, utterances: list[Utterance], folder: Path) -> dict[str, Any]:
    path, hypotheses = folder / "utterance.npy", []
    for utterance in utterances:
        np.save(path, utterance.samples())
        hypotheses.append(normalize(peer.hear(path)["text"]))
    return measure_test_set(utterances, hypotheses, 1000, 1)


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    sections = []
    for threads, measured in results["threads"].items():
        ours = measured.get(OURS, {}).get("processor_rtf")
        header = ["", "WER (95 %)", "RTF, clock", "RTF, processor", f"× {OURS}", "cold start", "peak memory", "model"]
        rows = [
            [
                name,
                rate(figures["errors"]["wer"], figures["errors"]["wer_ci95"]) if "errors" in figures else "",
                f"{figures['rtf']:.4f}",
                f"{figures['processor_rtf']:.4f}",
                f"{figures['processor_rtf'] / ours:.1f}" if ours else "–",
                f"{figures['cold_start_seconds']:.2f} s",
                f"{figures['peak_rss_bytes'] / 1e6:.0f} MB",
                f"{figures['bytes'] / 1e6:.1f} MB",
            ]
            for name, figures in measured.items()
        ]
        sections += [f"On {threads} thread(s), 10 s of speech:", table(header, rows)]
        curves = {name: figures["scaling"] for name, figures in measured.items() if "scaling" in figures}
        if curves:
            lengths = sorted({seconds for curve in curves.values() for seconds, *_ in curve})
            cells = lambda curve: {s: f"{rtf:.4f}, {peak / 1e6:.0f} MB" for s, rtf, peak in curve}  # noqa: E731
            rows = [[name, *(cells(curve).get(s, "–") for s in lengths)] for name, curve in curves.items()]
            sections += [
                "Processor's RTF and peak memory by length:",
                table(["", *(f"{s:g} s" for s in lengths)], rows),
            ]
    host = results["machine"]
    about = f"{host['cpu']}, {host['cores']} cores, onnxruntime {host['onnxruntime']}; WER over {results['speech']}"
    return "\n\n".join([*sections, about + ", normaliser velocity-english."])


if __name__ == "__main__":
    main()
