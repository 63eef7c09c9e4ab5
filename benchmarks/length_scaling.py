"""Cost in length: an artefact's time on 60 s and on 600 s of audio, on one thread, batch 1, measured in turn.

    python benchmarks/length_scaling.py models/export/onnx-int8

Two ways: the graph given all frames at once, and the runtime, which hears long audio in overlapping pieces.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of an artefact")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    import numpy as np

    from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
    from velocity.recognition.offline import VelocityASR

    asr = VelocityASR.from_pretrained(options.model, threads=1)
    noise = np.random.default_rng(0).standard_normal(600 * SAMPLE_RATE).astype(np.float32) * 0.1
    ways = {
        "whole graph": lambda samples: asr(compute_mel_spectrogram(samples)),
        "runtime": asr.transcribe,
    }
    for name, recognise in ways.items():
        times: dict[int, list[float]] = {60: [], 600: []}
        for _ in range(options.repeats):
            for seconds, measured in times.items():
                started = time.perf_counter()
                recognise(noise[: seconds * SAMPLE_RATE])
                measured.append(time.perf_counter() - started)
        short, long = (sorted(measured)[options.repeats // 2] for measured in times.values())
        print(f"{name}: 60 s in {short:.3f} s, 600 s in {long:.3f} s: {long / short:.1f} times as long")


if __name__ == "__main__":
    main()
