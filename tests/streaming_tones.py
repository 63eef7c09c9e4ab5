"""The recogniser of tones as an artefact that streams; all that its state holds is how many frames it has heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.tone_model import VOCABULARY, weights, write_model
from velocity.audio import MEL_BINS

CHUNK = 16  # feature frames
LEAD = 1


def write_streaming_model(folder: Path, target: str = "onnx-streaming") -> Path:
    """As ``tests.tone_model.write_model``, whose frames it hears one by one."""
    write_model(folder, target)
    (folder / "model.onnx").write_bytes(_graph())
    config = json.loads((folder / "config.json").read_text())
    config["streaming"] = {
        "chunk_frames": CHUNK,
        "lead_frames": LEAD,
        "after": "after.",
        "state": {"position": {"shape": [1], "dtype": "int64"}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _graph() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = weights()
    constants = {"weight": weight, "bias": bias}
    constants |= {
        name: np.array([value]) for name, value in (("begin", LEAD), ("end", 2**31), ("axis", 1), ("step", 2))
    }
    nodes = [
        helper.make_node("Slice", ["mel_spectrogram", "begin", "end", "axis", "step"], ["frames"]),  # (1, T', 80)
        helper.make_node("MatMul", ["frames", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=-1),
        helper.make_node("Shape", ["logits"], ["time"], start=1, end=2),
        helper.make_node("Add", ["position", "time"], ["after.position"]),
    ]
    graph = helper.make_graph(
        nodes,
        "streaming-tones",
        [
            helper.make_tensor_value_info("mel_spectrogram", TensorProto.FLOAT, [1, "frames", MEL_BINS]),
            helper.make_tensor_value_info("position", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, [1, "frames_out", VOCABULARY]),
            helper.make_tensor_value_info("after.position", TensorProto.INT64, [1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()
