"""What the project knows of a target, as one record; the records are in ``velocity.artefacts.targets``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from velocity.discovery import modules
from velocity.errors import VelocityError
from velocity.files import atomic_directory, check_replaceable, write_json

if TYPE_CHECKING:
    import numpy as np

    from velocity.artefacts.trained import Trained

    Posteriors = Callable[[np.ndarray], np.ndarray]  # log-mel (1, frames, 80) → log-posteriors (1, frames', V), float32

FLOAT_TARGET = "onnx"  # other artefacts' words are compared with its words
RELEASED = "onnx-int8"  # what transcribe runs, the gate judges and a registered version reports

# The model in PyTorch that an artefact must compute: floating point; fake-quantised, as quantisation-aware training
# left it; floating point with the trained integers as weights; weights of few bits.
Reference = Literal["float", "int8", "int8-weights", "int4", "int2"]


@dataclass(frozen=True)
class Bars:
    """What an artefact must reach to count as the trained model."""

    argmax: float  # least share of frames with PyTorch's best class
    max_abs_error: float  # greatest error of a log-posterior


FLOAT = Bars(argmax=0.999, max_abs_error=1e-3)
HALF = Bars(argmax=0.995, max_abs_error=1.0)  # products and activations in 16 bits
INT8 = Bars(argmax=0.995, max_abs_error=float("inf"))  # a sum in another order may round to another integer


@dataclass(frozen=True)
class Comparison:
    """How an artefact is loaded here and what it is compared with."""

    load: Callable[[Path, int], Posteriors]  # folder, threads
    library: str  # the module that ``load`` needs
    reference: Reference
    bars: Bars
    words: Reference  # its transcripts are compared with those of this reference
    near_float: bool = True  # and with those of ``FLOAT_TARGET``
    whole: bool = True  # fast enough here for whole test sets

    def installed(self) -> bool:
        return find_spec(self.library) is not None


@dataclass(frozen=True)
class Target:
    """How an artefact is written, run, compared, measured and described."""

    order: int  # its place in lists
    about: str  # one line for --help
    # Puts the model's own files into the folder and returns the target's own entries of ``config.json``. The source is
    # the folder of the artefact ``made_from``, of the same weights and input, or None: then everything is made anew.
    write: Callable[[Trained, Path, Path | None], dict[str, Any]]
    model: str | None  # file or package in the folder whose bytes count; None: all of the folder
    made_from: str | None = None
    waveform: bool = False  # it can also take samples instead of log-mel
    comparison: Comparison | None = None  # None: it does not run here
    same_as: str | None = None  # it holds the model file of this target, whose parity is its own
    timed: bool = False  # its speed and memory are measured here
    transcribes: bool = False  # ``velocity-asr transcribe`` runs it, so its cold start is measured
    write_notes: Callable[[Path, dict[str, Any]], None] | None = None  # README.md for app developers


@cache
def targets() -> dict[str, Target]:
    """Every target by its name, in their order."""
    found = [item for module in modules("velocity.artefacts.targets") for item in module.TARGETS.items()]
    return dict(sorted(found, key=lambda item: item[1].order))


def export_target(name: str, trained: Trained, folder: Path, source: Path | None = None) -> None:
    """Write the artefact ``name`` to ``folder``: the model's files, ``config.json`` and ``tokenizer.model``, all of
    them or none. ``source`` as in ``Target.write``.

    Raises VelocityError for an unknown target, for inputs that are broken or do not fit each other, for a streaming
    target of a model that is not causal, and for a ``folder`` with something else in it.
    """
    from velocity.artefacts.description import describe

    if name not in targets():
        raise VelocityError(f"{name}: unknown export target; known are {', '.join(targets())}")
    target = targets()[name]
    if trained.input == "waveform" and not target.waveform:
        able = ", ".join(other for other, record in targets().items() if record.waveform)
        raise VelocityError(f"{name}: takes log-mel features only; targets that take samples: {able}")
    if source and not source.is_dir():
        raise VelocityError(f"{source}: no such folder, and {name} is made from it; export {source.name} first")
    check_replaceable(folder, "config.json")
    config = describe(trained, name)
    with atomic_directory(folder) as partial:
        config |= target.write(trained, partial, source)
        write_json(partial / "config.json", config)
        shutil.copyfile(trained.tokenizer, partial / "tokenizer.model")
        if target.write_notes:
            target.write_notes(partial, config)
