"""ONNX export, by torch's dynamo exporter: batch and time dynamic, opset 18, one file."""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from torch import nn

OPSET = 18
EXAMPLE_FRAMES = 200  # of the traced example; the graph holds for any number


def export_onnx(model: nn.Module) -> onnx.ModelProto:
    """``model`` (mel (b, frames, 80) → log_probs, lengths) as a graph with names as the runtime expects them."""
    batch, frames = torch.export.Dim("batch", min=1), torch.export.Dim("frames", min=1)
    example = torch.zeros(2, EXAMPLE_FRAMES, model.config.mel_bins)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["mel_spectrogram"],
            output_names=["log_probs", "lengths"],
            dynamic_shapes=({0: batch, 1: frames},),
            external_data=False,
            verbose=False,
        )
    proto = program.model_proto
    strip(proto)
    return proto


def strip(proto: onnx.ModelProto) -> None:
    """Drop the exporter's notes on every node: they take a third of a small file and hold paths of this machine."""
    graph = proto.graph
    for item in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]
