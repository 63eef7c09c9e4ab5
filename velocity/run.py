"""``python -m velocity.run STAGE [ARGUMENT…]``: what dvc.yaml calls.

It checks params.yaml as a whole, and that the stage's inputs are there with the bytes that were written. Then it runs
``velocity.stages.STAGE``. If the stage keeps a journal, it is recorded in MLflow while the stage runs. None of this
changes what a stage computes: it is no dependency of any stage, and the stages do not import it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from velocity.errors import VelocityError
from velocity.loopback import bypass_proxies
from velocity.project import declared

MADE = ("data", "models", "reports")  # where stages write
JOURNALLED = {"pretrain", "finetune", "evaluate"}
PR_SET_PDEATHSIG = 1  # sys/prctl.h


def main() -> None:
    """Exit with the stage's own status, or die by the signal that killed it. Bad input: one line, exit status 2."""
    from velocity.config import load_params
    from velocity.integrity import check_inputs

    bypass_proxies()
    stage, *arguments = sys.argv[1:] or [""]
    command = [sys.executable, "-m", f"velocity.stages.{stage}", *arguments]
    try:
        if not stage or find_spec(f"velocity.stages.{stage}") is None:
            raise VelocityError(f"velocity.run: unknown stage {stage!r}; dvc.yaml lists the stages")
        load_params()
        require_inputs("@".join([stage, *arguments]))
        check_inputs(os.environ.get("DVC_STAGE"))
    except VelocityError as error:
        if os.environ.get("VELOCITY_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if stage in JOURNALLED and tracking_on():
        end_like(recorded(stage, command))
    os.execv(sys.executable, command)


def require_inputs(stage: str) -> None:
    """Raises VelocityError when what earlier stages make for ``stage`` is not there, as where it is run without DVC."""
    inputs = [path for path in declared(stage, "deps") if path.startswith(tuple(f"{folder}/" for folder in MADE))]
    if missing := [path for path in inputs if not Path(path).exists()]:
        raise VelocityError(f"{missing[0]}: missing input of {stage}; run `dvc repro {stage}`")


def tracking_on() -> bool:
    if os.environ.get("VELOCITY_TRACKING") == "off":
        return False
    if find_spec("mlflow") is None:
        print("note: MLflow is not installed, so this run is not recorded", file=sys.stderr)
        return False
    return True


def recorded(stage: str, command: list[str]) -> int:
    """Run ``command`` with a journal and record it; returns its exit status, negative for the signal that killed it."""
    from velocity.tracking.recorder import Recorder

    with ExitStack() as opened:
        try:
            recorder = opened.enter_context(Recorder(stage))
        except OSError as error:
            print(f"note: this run is not recorded: {error}", file=sys.stderr)
            os.execv(sys.executable, command)
        # Ctrl-C reaches both processes, and the stage decides when it ends. SIGTERM may come to this one alone.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        environment = os.environ | {"VELOCITY_JOURNAL": str(recorder.path)}
        process = subprocess.Popen(command, env=environment, preexec_fn=prepare_child)
        signal.signal(signal.SIGTERM, lambda number, frame: process.send_signal(number))
        recorder.start()
        status = process.wait()
        recorder.finish("FINISHED" if status == 0 else "KILLED" if status < 0 else "FAILED")
    return status


def prepare_child() -> None:
    """In the child: take Ctrl-C again and, on Linux, end when this process is killed: a stage works for somebody."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_like(status: int) -> None:
    """Exit with ``status``; where it is a signal's, die by that signal, so that DVC and its callers see it."""
    if status < 0:
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
