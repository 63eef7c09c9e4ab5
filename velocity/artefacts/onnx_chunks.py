"""ONNX export of the causal recogniser's chunk step: log-mel and state in, posteriors and the state after them out."""

from __future__ import annotations

from typing import Any

import onnx
import torch

from velocity.artefacts.onnx_graph import trace
from velocity.model.asr import VelocityModel
from velocity.model.chunkwise import StreamingModel

AFTER = "after."  # what the name of a state begins with where it comes out
EXAMPLE_CHUNKS = 3  # of the traced example; the graph holds for any number


def export_onnx_streaming(model: VelocityModel) -> onnx.ModelProto:
    """``StreamingModel`` of ``model`` for one stream: ``mel_spectrogram`` (1, frames, 80), frames any multiple of its
    ``chunk_frames``, and the tensors of its state by name → ``log_probs``, of a model with a head for phones also
    ``phone_log_probs``, and ``after.<name>`` of each.

    Raises VelocityError when the model is not causal.
    """
    streaming = StreamingModel(model)
    state = streaming.initial_state()
    example = torch.zeros(1, EXAMPLE_CHUNKS * streaming.chunk_frames, model.config.mel_bins)
    phones = ["phone_log_probs"] * (model.phone_head is not None)
    frames = streaming.chunk_frames * torch.export.Dim("chunks", min=1)
    return trace(
        streaming,
        (example, *state.values()),
        input_names=["mel_spectrogram", *state],
        output_names=["log_probs", *phones, *(AFTER + name for name in state)],
        dynamic_shapes=({1: frames}, tuple({} for _ in state)),
    )


def describe_streaming(model: VelocityModel) -> dict[str, Any]:
    """What ``config.json`` tells whoever calls the graph: its state, and in feature frames what a chunk is a
    multiple of and what comes before the first frame."""
    streaming = StreamingModel(model)
    return {
        "chunk_frames": streaming.chunk_frames,
        "lead_frames": streaming.lead_frames,
        "after": AFTER,
        "state": {
            name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            for name, tensor in streaming.initial_state().items()
        },
    }
