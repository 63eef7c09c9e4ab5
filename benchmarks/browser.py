"""The web bundle in headless Chromium beside the Python runtime: parity, words and speed, on speech of your choice.

    python -m benchmarks.browser --model velocity-asr-v2 --test-set synthetic-test --threads 1 --threads 2

Speed is seconds of work a second of speech in the page's worker, features, voice activity and decoding included; the
Python runtime is timed in turn with the page. Where other work runs, the processor time of all of Chromium's processes
says more. With --webgpu the graphics processor is played by software (SwiftShader):
that shows what WebGPU computes, not how fast it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil

from tests.chromium import Browser
from velocity import VelocityASR
from velocity.artefacts.site import write_site
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.commands.models import find_artefact
from velocity.evaluation.testset import load_test_set
from velocity.evaluation.wer import score

LONGEST = 30.0  # seconds of what parity compares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="velocity-asr-v2", help="as of `velocity-asr transcribe`")
    parser.add_argument("--test-set", required=True, help="as of `velocity-asr evaluate`")
    parser.add_argument("--utterances", type=int, default=100, help="taken evenly from the test set")
    parser.add_argument("--threads", type=int, action="append", help="of WebAssembly; may be given again")
    parser.add_argument("--webgpu", type=int, default=0, metavar="N", help="the N shortest utterances on WebGPU, too")
    options = parser.parse_args()
    artefact = find_artefact(options.model, quantized=True)
    _, every = load_test_set(options.test_set)
    chosen = np.linspace(0, len(every) - 1, min(options.utterances, len(every))).round().astype(int)
    speech = [(every[index].samples(), every[index].text) for index in chosen]
    runtime = VelocityASR(artefact)
    with TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        write_site(artefact, site)
        rows = [measure(runtime, site, "wasm", threads, speech) for threads in options.threads or [1]]
        if options.webgpu:
            shortest = sorted(speech, key=lambda each: len(each[0]))[: options.webgpu]
            rows.append(measure(runtime, site, "webgpu", 1, shortest))
    print(json.dumps({"model": artefact.name, "load": os.getloadavg()[0], "runs": rows}, indent=2))


def measure(
    runtime: VelocityASR, site: Path, provider: str, threads: int, speech: list[tuple[np.ndarray, str]]
) -> dict[str, object]:
    """Parity of the log-posteriors, words and speed of ``speech``, (samples, what is said) each."""
    worst, same, frames, texts, took, worked, python = 0.0, 0, 0, [], [], [], []
    with Browser(site, provider, threads) as browser:
        browser.transcribe(speech[0][0])  # the first run compiles
        for number, (samples, _) in enumerate(speech):
            if len(samples) <= LONGEST * SAMPLE_RATE:
                mel = np.asarray(compute_mel_spectrogram(samples))[None]
                expected, found = runtime(mel), browser(mel)
                worst = max(worst, float(np.abs(expected - found).max()))
                same, frames = same + int((expected.argmax(-1) == found.argmax(-1)).sum()), frames + found.shape[1]
            before = processor_seconds()
            result = browser.transcribe(samples)
            worked.append(processor_seconds() - before)
            started = time.perf_counter()
            text = runtime.transcribe(samples)
            python.append(time.perf_counter() - started)
            took.append(result["took"])
            texts.append((text, result["text"]))
            print(f"\r{provider} {threads}: {number + 1}/{len(speech)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    spoken, seconds = [text for _, text in speech], sum(len(samples) for samples, _ in speech) / SAMPLE_RATE
    by_python, by_page = ([text[which] for text in texts] for which in (0, 1))
    return {
        "provider": browser.loaded["provider"],
        "threads": browser.loaded["threads"],
        "utterances": len(speech),
        "seconds": round(seconds, 1),
        "max_abs_error": float(f"{worst:.3g}"),
        "argmax_agreement": round(same / frames, 5),
        "same_text": sum(a == b for a, b in texts),
        "wer": round(score(spoken, by_page).wer, 5),
        "wer_python": round(score(spoken, by_python).wer, 5),
        "rtf": round(sum(took) / seconds, 5),
        "cpu_seconds_a_second": round(sum(worked) / seconds, 5),
        "rtf_python_1thread": round(sum(python) / seconds, 5),
        "start_seconds": round(browser.loaded["seconds"], 2),
    }


def processor_seconds() -> float:
    """Of all processes that this one has started."""
    times = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
