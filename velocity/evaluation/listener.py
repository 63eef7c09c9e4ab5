"""A recogniser in a process of its own, run by the code it was made with.

Two states of a project differ in how they make features, cut recordings or decode, as well as in their weights. So
each model is run by the code of its own checkout: under one code, a fault in it would spoil both models alike, and
nobody would see a difference.

``python -P listener.py FOLDER`` is that process, with the checkout on its PYTHONPATH. It reads orders and writes
answers, a line of JSON each. Of the other code it knows what is public: ``VelocityASR`` and its neighbours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from velocity.evaluation.testset import Utterance

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HERE = Path(__file__).resolve().parents[2]  # where this package lies


class Listener:
    """``with Listener(folder) as listener``: the artefact in ``folder``.

    ``code`` is the folder of a checkout whose package runs it; the default is this one.
    """

    def __init__(self, folder: Path, code: Path | None = None) -> None:
        self.folder, self.code = folder, Path(code or HERE).resolve()

    def __enter__(self) -> Listener:
        found_first = os.pathsep.join(filter(None, [str(self.code), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": found_first},
        )
        return self

    def __exit__(self, *raised: object) -> None:
        if raised[0]:
            self._process.kill()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def hear(self, utterances: Sequence[Utterance], title: str) -> list[str]:
        """What is said in each of ``utterances``, normalised; ``title`` names the progress.

        Raises VelocityError when the model cannot be loaded or an utterance cannot be read.
        """
        fields = [
            {"id": u.id, "path": str(u.path), "text": u.text, "start": u.start, "seconds": u.seconds}
            for u in utterances
        ]
        return self._ask({"hear": fields, "title": title})

    def work(self, seconds: float) -> float:
        """Seconds of processor time that so many seconds of noise cost, features included. Raises as ``hear``."""
        return self._ask({"work": seconds})

    def _ask(self, order: Mapping[str, Any]) -> Any:
        from velocity.errors import VelocityError

        with suppress(BrokenPipeError):
            print(json.dumps(order), file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        if not told:
            raise VelocityError(f"{self.folder}: the code in {self.code} cannot run this model; it says why above")
        answer = json.loads(told)
        if "error" in answer:
            raise VelocityError(answer["error"])
        return answer["answer"]


def _answers(folder: str) -> Iterator[Any]:
    """In the other process: an answer to each order on stdin."""
    import numpy as np

    from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
    from velocity.evaluation.recognition import recognise
    from velocity.evaluation.testset import Utterance
    from velocity.runtime import VelocityASR

    model = VelocityASR(folder)
    for order in map(json.loads, sys.stdin):
        if "hear" in order:
            utterances = [Utterance(**fields | {"path": Path(fields["path"])}) for fields in order["hear"]]
            yield recognise(model, utterances, order["title"], os.cpu_count() or 1).hypotheses
        else:
            samples = np.random.default_rng(0).standard_normal(round(order["work"] * SAMPLE_RATE), dtype=np.float32)
            begun = time.process_time()
            model(compute_mel_spectrogram(0.1 * samples))
            yield time.process_time() - begun


def _listen(folder: str) -> None:
    from velocity.errors import VelocityError

    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    try:
        for answer in _answers(folder):
            print(json.dumps({"answer": answer}), file=answers, flush=True)
    except VelocityError as error:
        print(json.dumps({"error": str(error)}), file=answers, flush=True)


if __name__ == "__main__":
    _listen(sys.argv[1])
