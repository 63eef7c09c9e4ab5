"""The artefacts: a folder a target, with the model, its configuration and its tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from velocity.artefacts.low_bits import write_low_bits
from velocity.artefacts.notes import write_notes
from velocity.artefacts.provenance import describe, labels
from velocity.artefacts.trained import Trained
from velocity.artefacts.web import write_web
from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_json


@dataclass(frozen=True)
class Target:
    """How an artefact comes about.

    ``write(trained, folder, source)`` puts the model's own files into ``folder`` and returns what ``config.json`` says
    of them. ``source`` is the folder of the artefact ``made_from`` of the same weights and input, which spares what
    was done for it, or None. ``waveform``: it can also be made to take samples instead of log-mel.
    """

    about: str  # one line, for who chooses
    write: Callable[[Trained, Path, Path | None], dict[str, Any]]
    made_from: str | None = None
    waveform: bool = False


def export_target(target: str, trained: Trained, folder: Path, source: Path | None = None) -> None:
    """Write the artefact ``target`` to ``folder``: the model's files, ``config.json`` and ``tokenizer.model``, all of
    them or none. ``source`` as in ``Target``.

    Raises VelocityError for an unknown target, for inputs that are broken or do not fit each other, and for the
    streaming of a model that is not causal.
    """
    if target not in TARGETS:
        raise VelocityError(f"{target}: unknown export target; known are {', '.join(TARGETS)}")
    if trained.input == "waveform" and not TARGETS[target].waveform:
        able = ", ".join(name for name, other in TARGETS.items() if other.waveform)
        raise VelocityError(f"{target}: takes log-mel features only; of samples there are {able}")
    if source and not source.is_dir():
        raise VelocityError(f"{source}: not there, and {target} is made from it; export {source.name} first")
    config = describe(trained, target)
    with atomic_directory(folder) as partial:
        config |= TARGETS[target].write(trained, partial, source)
        write_json(partial / "config.json", config)
        shutil.copyfile(trained.tokenizer, partial / "tokenizer.model")
        if target in MOBILE:
            write_notes(partial, config)


def write_onnx(trained: Trained, folder: Path, source: Path | None, streaming: bool, int8: bool) -> dict[str, Any]:
    """``model.onnx``: of whole utterances, or the chunk step of a causal model; in floating point, or with integers."""
    import onnx

    from velocity.artefacts.onnx import export_onnx, set_labels
    from velocity.artefacts.quantize import quantize_graph
    from velocity.artefacts.streaming import describe_streaming, export_onnx_streaming
    from velocity.quantization.calibration import load_quantized

    model = trained.load()
    described = {"streaming": describe_streaming(model)} if streaming else {}
    quantized = load_quantized(trained.weights, trained.calibration) if int8 else None
    trace = export_onnx_streaming if streaming else export_onnx
    graph = onnx.load(source / "model.onnx") if source else trace(model)
    graph = quantize_graph(graph, quantized) if quantized else graph
    set_labels(graph, labels(trained, "onnx" + "-streaming" * streaming + "-int8" * int8))
    onnx.save(graph, folder / "model.onnx")
    return described | {"opset": graph.opset_import[0].version}


def write_tflite(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    """``model.tflite``: converted from the ONNX graph in ``source``, or given integers where that is TFLite already."""
    import onnx

    from velocity.artefacts.onnx import export_onnx
    from velocity.artefacts.tflite import quantize_tflite, set_labels, tflite_from_onnx
    from velocity.quantization.calibration import load_quantized

    if source and int8:
        content = (source / "model.tflite").read_bytes()
    else:
        content = tflite_from_onnx(onnx.load(source / "model.onnx") if source else export_onnx(trained.load()))
    if int8:
        content = quantize_tflite(content, load_quantized(trained.weights, trained.calibration))
    (folder / "model.tflite").write_bytes(set_labels(content, labels(trained, "tflite" + "-int8" * int8)))
    return {}


def write_coreml(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    """``model.mlpackage``: traced anew, or ``source``'s given the trained integers of the weights."""
    from velocity.artefacts.coreml import ABOUT, FEATURES, MOST_FRAMES, PACKAGE, export_coreml, quantize_package
    from velocity.artefacts.mlpackage import Package
    from velocity.quantization.calibration import load_quantized

    package = Package.read(source / PACKAGE) if source else export_coreml(trained.load())
    if int8:
        quantize_package(package, load_quantized(trained.weights, trained.calibration))
    about = ABOUT | ({"license": trained.licence} if trained.licence else {})
    package.describe(about, FEATURES, labels(trained, "coreml" + "-int8" * int8))
    package.write(folder / PACKAGE)
    return {"most_frames": MOST_FRAMES}


TARGETS = {
    "onnx": Target(
        "floating point, for servers and desktops: what the others are compared with",
        partial(write_onnx, streaming=False, int8=False),
        waveform=True,
    ),
    "onnx-int8": Target(
        "8-bit weights and activations: smaller and faster on any processor; what transcribe runs",
        partial(write_onnx, streaming=False, int8=True),
        made_from="onnx",
        waveform=True,
    ),
    "onnx-streaming": Target(
        "live sound, chunk by chunk, of a causal model", partial(write_onnx, streaming=True, int8=False)
    ),
    "onnx-streaming-int8": Target(
        "the same in 8 bits", partial(write_onnx, streaming=True, int8=True), made_from="onnx-streaming"
    ),
    "onnx-int4": Target(
        "4-bit weights, for models trained with finetune.weight_bits: 4; half the size, no faster",
        partial(write_low_bits, bits=4),
        made_from="onnx",
    ),
    "onnx-int2": Target(
        "2-bit weights, for models trained with finetune.weight_bits: 2: a quarter of the size",
        partial(write_low_bits, bits=2),
        made_from="onnx",
    ),
    "coreml": Target("iPhone, iPad and Mac, 16-bit", partial(write_coreml, int8=False)),
    "coreml-int8": Target("the same with 8-bit weights", partial(write_coreml, int8=True), made_from="coreml"),
    "tflite": Target(
        "Android and boards, floating point", partial(write_tflite, int8=False), made_from="onnx", waveform=True
    ),
    "tflite-int8": Target(
        "the same with 8-bit weights and activations",
        partial(write_tflite, int8=True),
        made_from="tflite",
        waveform=True,
    ),
    "web": Target("a folder with a page that recognises in the browser", write_web, made_from="onnx-int8"),
}
MOBILE = {"coreml", "coreml-int8", "tflite", "tflite-int8"}  # with a note on how an app calls them
