"""How fast and how large an artefact is on this machine. Each measurement runs in a fresh process of its own.

``python -m velocity.evaluation.speed FOLDER TARGET THREADS REPEATS SECONDS…`` is that process and prints one JSON
object.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.files import walk

if TYPE_CHECKING:
    from velocity.artefacts.target import Target

CLIP = 10.0  # seconds of audio behind the real-time factor, the latency, the peak memory and the cold start
LONG = 60.0  # seconds of audio whose first words are waited for
LENGTHS = (1.0, 5.0, 10.0, 30.0, 60.0)
COLD_STARTS = 3


def measure(
    folder: Path, threads: int = 1, repeats: int = 7, lengths: Sequence[float] = LENGTHS, name: str | None = None
) -> dict[str, Any]:
    """Size, real-time factor, latency, peak memory, cold start and scaling of the artefact in ``folder``.

    Medians of ``repeats``, features included, after one warm-up run. The audio is noise, or a hum where a voice has to
    be detected: the cost of recognition depends on the length of its input alone. An artefact that does not run here
    has its size only. ``name``: of its target, by default what its ``config.json`` names.
    """
    target = _target(folder, name)
    figures = sizes(folder, target)
    if not runs_here(target):
        return figures
    figures["clip_seconds"] = CLIP
    if target.transcribes:
        starts = [_cold_start(folder, threads) for _ in range(COLD_STARTS)]
        figures["cold_start_seconds"] = round(statistics.median(starts), 3)
    return figures | measure_once(folder, threads, repeats, lengths, name)


def sizes(folder: Path, target: Target | None) -> dict[str, int]:
    """Bytes of the model and of the whole folder."""
    whole = _bytes(folder)
    return {"bytes": _bytes(folder / target.model) if target and target.model else whole, "folder_bytes": whole}


def runs_here(target: Target | None) -> bool:
    return target is not None and target.timed and target.comparison.installed()


def measure_once(
    folder: Path, threads: int = 1, repeats: int = 1, lengths: Sequence[float] = (), name: str | None = None
) -> dict[str, Any]:
    """What one fresh process measures: loading, real-time factor, latency, peak memory in bytes, scaling."""
    numbers = [str(value) for value in (threads, repeats, *lengths)]
    command = [sys.executable, "-m", "velocity.evaluation.speed", str(folder), name or "", *numbers]
    return json.loads(_run(command, threads))


def _target(folder: Path, name: str | None) -> Target | None:
    """The record of the artefact in ``folder``; None when its target is not known."""
    from velocity.artefacts.target import targets

    config = folder / "config.json"
    if name is None and config.is_file():
        name = json.loads(config.read_text(encoding="utf-8")).get("target")
    return targets().get(name or "")


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (walk(path) if path.is_dir() else [path]))


def rtf_name(threads: int) -> str:
    return f"rtf_{threads}thread{'s' if threads > 1 else ''}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import onnxruntime

    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _run(command: list[str], threads: int) -> str:
    """Run ``command`` with NumPy limited to ``threads`` threads as well; return what it prints."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.run(command, env=os.environ | limits, check=True, stdout=subprocess.PIPE, text=True).stdout


def _cold_start(folder: Path, threads: int) -> float:
    """Seconds from typing ``velocity-asr transcribe`` to the text of a clip."""
    import soundfile

    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary, "clip.wav")
        soundfile.write(clip, _hum(CLIP), SAMPLE_RATE)
        command = [sys.executable, "-m", "velocity.cli", "transcribe", str(clip), "--model", str(folder)]
        started = time.perf_counter()
        _run([*command, "--threads", str(threads)], threads)
        return time.perf_counter() - started


def _noise(seconds: float) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE), dtype=np.float32)
    return 0.1 * samples


def _hum(seconds: float) -> np.ndarray:
    """A sound that the voice detector takes for a voice; noise would not be recognised at all."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * 125 * harmonic * times) / harmonic for harmonic in range(1, 24))
    return (0.1 * tones * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * times))).astype(np.float32)  # four syllables a second


def _peak_rss() -> int:
    """Bytes. Linux' own figure where there is one: rusage also counts the process that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _measure_here(folder: Path, name: str | None, threads: int, repeats: int, lengths: list[float]) -> dict[str, Any]:
    target = _target(folder, name)
    started = time.perf_counter()
    model = target.comparison.load(folder, threads)
    loaded = time.perf_counter() - started

    def rtf(seconds: float) -> float:
        samples = _noise(seconds)
        return _median(repeats, lambda: model(compute_mel_spectrogram(samples)[None])) / seconds

    clip = rtf(CLIP)
    peak = _peak_rss()  # before the longer inputs
    figures = {
        "load_seconds": round(loaded, 4),
        rtf_name(threads): round(clip, 6),
        "latency_seconds": round(clip * CLIP, 5),
        "peak_rss_bytes": peak,
        "scaling": [[seconds, round(rtf(seconds), 6)] for seconds in lengths],
    }
    if target.transcribes:
        hum = _hum(LONG)
        figures["first_result_seconds"] = round(_median(repeats, lambda: next(model.passages(hum))), 5)
    return figures


def _median(repeats: int, work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes, once it has been done."""
    took = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took[1:])


if __name__ == "__main__":
    folder, name, threads, repeats, *lengths = sys.argv[1:]
    figures = _measure_here(Path(folder), name or None, int(threads), int(repeats), [float(each) for each in lengths])
    print(json.dumps(figures))
