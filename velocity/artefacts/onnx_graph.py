"""ONNX export, by torch's dynamo exporter: batch and time dynamic, opset 18, one file."""

from __future__ import annotations

import itertools
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx_ir.passes.common import DeduplicateInitializersPass
from torch import nn

from velocity.artefacts.description import labels
from velocity.artefacts.onnx_mixer import expand_mixers, mixers_as_operators
from velocity.artefacts.waveform import WaveformModel

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained

OPSET = 18
EXAMPLE_FRAMES = 200  # of the traced example; the graph holds for any number
EXAMPLE_SAMPLES = 32_000
SHARED = 4096  # elements of a constant that is kept once, as the masks of all scans: 64 by 64
HEIGHT = "image.height"  # name of the constant that says which axis it is


def export_onnx(model: nn.Module) -> onnx.ModelProto:
    """``model`` (mel (b, frames, 80), or waveform (b, samples) of a ``WaveformModel`` → log_probs, lengths) as a graph
    with names as the runtime expects them. One with a head for phones gives ``phone_log_probs`` as well."""
    if isinstance(model, WaveformModel):
        name, time, example = "waveform", "samples", torch.zeros(2, EXAMPLE_SAMPLES)
    else:
        name, time, example = "mel_spectrogram", "frames", torch.zeros(2, EXAMPLE_FRAMES, model.config.mel_bins)
    shapes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim(time, min=1)}
    recogniser = model.model if isinstance(model, WaveformModel) else model
    outputs = ["log_probs", "lengths"] + ["phone_log_probs"] * (recogniser.phone_head is not None)
    with _all_outputs(recogniser):
        return trace(model, (example,), input_names=[name], output_names=outputs, dynamic_shapes=(shapes,))


@contextmanager
def _all_outputs(recogniser: nn.Module) -> Iterator[None]:
    """Within it, calling ``recogniser`` gives its ``outputs``."""
    recogniser.forward = recogniser.outputs
    try:
        yield
    finally:
        del recogniser.forward


def graph_of_letters(trained: Trained, source: Path | None) -> onnx.ModelProto:
    """What targets without phones are made from: the graph in ``source``, unless it gives phones, or a traced one."""
    if source and not trained.config.phones:
        return onnx.load(source / "model.onnx")
    return export_onnx(trained.load())


def trace(model: nn.Module, example: tuple[torch.Tensor, ...], **options: Any) -> onnx.ModelProto:
    """``model`` as a graph, written so that runtimes find what they have fast code for; ``options`` of torch.onnx."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad(), mixers_as_operators(model):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.gelu.default: gelu},
            external_data=False,
            verbose=False,
            **options,
        )
    DeduplicateInitializersPass(size_limit=SHARED)(program.model)
    proto = program.model_proto
    strip(proto)
    expand_mixers(proto)
    convolve_images(proto)
    return proto


def gelu(x: Any, approximate: str = "none") -> Any:
    """x · (1 + erf(x / √2)) · ½: the exporter's own translation has the last two products the other way round, in which
    onnxruntime does not see the one operator that it has for all five."""
    from onnxscript import opset18 as op

    assert approximate == "none", "another function"
    return op.Mul(op.Mul(x, op.Add(op.Erf(op.Div(x, math.sqrt(2.0))), 1.0)), 0.5)


def convolve_images(proto: onnx.ModelProto) -> None:
    """Turn each convolution in time into one of images a pixel high, (b, 1, time, channels) on either side: the same
    products, which onnxruntime computes several times as fast, and without transposing (its NCHWc kernels)."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    graph.initializer.append(numpy_helper.from_array(np.array([1]), HEIGHT))
    images: dict[str, list[onnx.NodeProto]] = {}  # output of a convolution → what stands for it
    turns: set[str] = set()  # outputs of the transpositions around them
    for conv in (node for node in graph.node if node.op_type == "Conv"):
        around = [makers.get(conv.input[0]), *users[conv.output[0]]]
        if not all(_turns(node) for node in around) or len(users[conv.input[0]]) > 1 or len(around) > 2:
            continue
        weight = tensors[conv.input[1]]
        if len(weight.dims) == 3:  # else it is an equal one's as well, and has been made an image's
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:, :, None], weight.name))
        images[conv.output[0]] = _image(conv, around[0].input[0], around[1].output[0])
        turns |= {node.output[0] for node in around}
    nodes = [images.get(node.output[0], [node]) for node in graph.node if node.output[0] not in turns]
    del graph.node[:]
    graph.node.extend(itertools.chain.from_iterable(nodes))


def _turns(node: onnx.NodeProto | None) -> bool:
    """(b, t, c) → (b, c, t), or back."""
    return node is not None and node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 2, 1]


def _image(conv: onnx.NodeProto, before: str, after: str) -> list[onnx.NodeProto]:
    """``conv`` from ``before`` (b, t, c) to ``after`` (b, t', c')."""
    given = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    first, last = given["pads"]
    sides = {"pads": [0, first, 0, last], "group": given["group"]}
    sides |= {name: [1, *given[name]] for name in ("strides", "dilations", "kernel_shape")}
    x, x_first, y_first, y = (f"{conv.output[0]}.{part}" for part in ("x", "x_first", "y_first", "y"))
    return [
        helper.make_node("Unsqueeze", [before, HEIGHT], [x], f"{x}.unsqueeze"),  # (b, 1, t, c)
        helper.make_node("Transpose", [x], [x_first], f"{x}.transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", [x_first, *conv.input[1:]], [y_first], conv.name, **sides),  # (b, c', 1, t')
        helper.make_node("Transpose", [y_first], [y], f"{y}.transpose", perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", [y, HEIGHT], [after], f"{y}.squeeze"),
    ]


def strip(proto: onnx.ModelProto) -> None:
    """Drop the exporter's notes on every node: they take a third of a small file and hold paths of this machine."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]


def save_graph(proto: onnx.ModelProto, folder: Path, trained: Trained, target: str) -> dict[str, Any]:
    """Write ``model.onnx`` with the artefact's labels as its metadata. Returns the graph's entry of ``config.json``."""
    del proto.metadata_props[:]
    helper.set_model_props(proto, labels(trained, target))
    onnx.save(proto, folder / "model.onnx")
    return {"opset": proto.opset_import[0].version}
