"""A recogniser in a process of its own, run by the code it was made with.

Two versions of a project differ in their features, segmentation and decoding as well as in their weights. So each model
runs with the code of its own checkout: a fault in shared code would change both models alike, and nobody would see it.

``python -P isolated.py FOLDER [greedy]`` is that process, with the checkout on its PYTHONPATH. It reads requests and
writes results, one JSON object a line. It uses only public names of the package, so it runs checkouts of any layout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from velocity.evaluation.testset import Utterance

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HERE = Path(__file__).resolve().parents[2]  # where this package lies


class IsolatedRecogniser:
    """``with IsolatedRecogniser(folder) as recogniser``: the artefact in ``folder``.

    ``code`` is the folder of a checkout whose package runs it; the default is this one. ``greedy`` compares models and
    not their language models; without it, each decodes as its configuration says.
    """

    def __init__(self, folder: Path, code: Path | None = None, greedy: bool = True) -> None:
        self.folder, self.code, self.greedy = folder, Path(code or HERE).resolve(), greedy

    def __enter__(self) -> IsolatedRecogniser:
        path = os.pathsep.join(filter(None, [str(self.code), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", str(Path(__file__).resolve()), str(self.folder), *["greedy"] * self.greedy]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=os.environ | ONE_THREAD | {"PYTHONPATH": path}, **pipes)
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0]:
            self._process.kill()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def transcribe(self, utterances: Sequence[Utterance], title: str) -> list[str]:
        """The hypothesis for each of ``utterances``, normalised; ``title`` names the progress.

        Raises VelocityError when the model cannot be loaded or an utterance cannot be read.
        """
        from velocity.progress import track
        from velocity.text import normalize

        fields = [{"path": str(u.path), "start": u.start, "seconds": u.seconds} for u in utterances]
        self._send({"transcribe": fields})
        return [normalize(self._receive()) for _ in track(utterances, title, len(utterances))]

    def processor_time(self, seconds: float) -> float:
        """Processor time in seconds for ``seconds`` of noise, features included. Raises as ``transcribe``."""
        self._send({"processor_time": seconds})
        return self._receive()

    def _send(self, request: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def _receive(self) -> Any:
        from velocity.errors import VelocityError

        line = self._process.stdout.readline()
        if not line:
            raise VelocityError(f"{self.folder}: the code in {self.code} cannot run this model; its error is above")
        result = json.loads(line)
        if "error" in result:
            raise VelocityError(result["error"])
        return result["result"]


def _results(folder: str, greedy: str = "") -> Iterator[Any]:
    """In the other process: the results of each request on stdin, one for each utterance."""
    import numpy as np

    from velocity import VelocityASR, compute_mel_spectrogram, load_audio

    model = VelocityASR.from_pretrained(folder, lm="none" if greedy else None)
    rate = model.config["sample_rate"]
    recording = lru_cache(maxsize=1)(load_audio)  # the cuts of a long recording follow each other

    def transcribe(path: str, start: float, seconds: float | None) -> str:
        samples = recording(path)
        first = round(start * rate)
        return model.transcribe(samples[first : None if seconds is None else first + round(seconds * rate)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for request in map(json.loads, sys.stdin):
            if "transcribe" in request:
                yield from pool.map(lambda fields: transcribe(**fields), request["transcribe"])
            else:
                count = round(request["processor_time"] * rate)
                samples = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
                begun = time.process_time()
                model(compute_mel_spectrogram(0.1 * samples))
                yield time.process_time() - begun


def _work(*arguments: str) -> None:
    results, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no result
    try:
        for result in _results(*arguments):
            print(json.dumps({"result": result}), file=results, flush=True)
    except Exception as error:
        if type(error).__name__ != "VelocityError":
            raise
        print(json.dumps({"error": str(error)}), file=results, flush=True)


if __name__ == "__main__":
    _work(*sys.argv[1:])
