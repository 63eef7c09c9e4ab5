"""ONNX export, by torch's dynamo exporter: batch and time dynamic, opset 18, one file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping

import onnx
import torch
from torch import nn

from velocity.export.waveform import WaveformModel

OPSET = 18
EXAMPLE_FRAMES = 200  # of the traced example; the graph holds for any number
EXAMPLE_SAMPLES = 32_000


def export_onnx(model: nn.Module) -> onnx.ModelProto:
    """``model`` (mel (b, frames, 80), or waveform (b, samples) of a ``WaveformModel`` → log_probs, lengths) as a graph
    with names as the runtime expects them."""
    if isinstance(model, WaveformModel):
        name, time, example = "waveform", "samples", torch.zeros(2, EXAMPLE_SAMPLES)
    else:
        name, time, example = "mel_spectrogram", "frames", torch.zeros(2, EXAMPLE_FRAMES, model.config.mel_bins)
    shapes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim(time, min=1)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[name],
            output_names=["log_probs", "lengths"],
            dynamic_shapes=(shapes,),
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


def set_labels(proto: onnx.ModelProto, labels: Mapping[str, str]) -> None:
    """Write ``labels`` into the graph's metadata, in the place of what was there."""
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, dict(labels))
