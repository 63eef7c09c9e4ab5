"""How fast and how large an artefact is on this machine. Each measurement runs in a fresh process of its own.

``python -m velocity.evaluation.speed FOLDER THREADS REPEATS SECONDS…`` is that process: it prints one JSON object.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram

CLIP = 10.0  # seconds of audio behind the real-time factor, the latency, the peak memory and the cold start
LENGTHS = (1.0, 5.0, 10.0, 30.0, 60.0)
COLD_STARTS = 3


def measure(folder: Path, threads: int = 1, repeats: int = 7, lengths: Sequence[float] = LENGTHS) -> dict[str, Any]:
    """Size, real-time factor, latency, peak memory, cold start and scaling of the exported model in ``folder``.

    Medians of ``repeats``, features included, after one run to warm up. The audio is noise: what a recogniser costs
    depends on the length of its input alone.
    """
    return {
        "bytes": (folder / "model.onnx").stat().st_size,
        "folder_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "clip_seconds": CLIP,
        "cold_start_seconds": round(statistics.median(_cold_start(folder, threads) for _ in range(COLD_STARTS)), 3),
        **measure_once(folder, threads, repeats, lengths),
    }


def measure_once(folder: Path, threads: int = 1, repeats: int = 1, lengths: Sequence[float] = ()) -> dict[str, Any]:
    """What one fresh process tells: loading, real-time factor, latency, peak memory in bytes, scaling."""
    numbers = [str(value) for value in (threads, repeats, *lengths)]
    return json.loads(_run([sys.executable, "-m", "velocity.evaluation.speed", str(folder), *numbers], threads))


def rtf_name(threads: int) -> str:
    return f"rtf_{threads}thread{'s' if threads > 1 else ''}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import onnxruntime

    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _run(command: list[str], threads: int) -> str:
    """Run ``command`` with NumPy held to ``threads`` threads as well; return what it prints."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.run(command, env=os.environ | limits, check=True, stdout=subprocess.PIPE, text=True).stdout


def _cold_start(folder: Path, threads: int) -> float:
    """Seconds from typing ``velocity-asr transcribe`` to the text of a clip."""
    import soundfile

    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary, "clip.wav")
        soundfile.write(clip, _noise(CLIP), SAMPLE_RATE)
        command = [sys.executable, "-m", "velocity.cli", "transcribe", str(clip), "--model", str(folder)]
        started = time.perf_counter()
        _run([*command, "--threads", str(threads)], threads)
        return time.perf_counter() - started


def _noise(seconds: float) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE), dtype=np.float32)
    return 0.1 * samples


def _peak_rss() -> int:
    """Bytes. Linux' own figure where there is one: rusage also counts the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _measure_here(folder: str, threads: int, repeats: int, lengths: Sequence[float]) -> dict[str, Any]:
    started = time.perf_counter()
    from velocity.runtime import VelocityASR

    model = VelocityASR.from_pretrained(folder, threads=threads)
    loaded = time.perf_counter() - started

    def rtf(seconds: float) -> float:
        samples = _noise(seconds)
        took = []
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            model(compute_mel_spectrogram(samples))
            took.append(time.perf_counter() - begun)
        return statistics.median(took[1:]) / seconds

    clip = rtf(CLIP)
    peak = _peak_rss()  # before the longer inputs of the scaling
    return {
        "load_seconds": round(loaded, 4),
        rtf_name(threads): round(clip, 6),
        "latency_seconds": round(clip * CLIP, 5),
        "peak_rss_bytes": peak,
        "scaling": [[seconds, round(rtf(seconds), 6)] for seconds in lengths],
    }


if __name__ == "__main__":
    folder, threads, repeats, *lengths = sys.argv[1:]
    print(json.dumps(_measure_here(folder, int(threads), int(repeats), [float(seconds) for seconds in lengths])))
