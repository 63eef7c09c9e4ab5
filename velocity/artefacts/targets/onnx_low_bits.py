"""ONNX with weights of 4 or 2 bits and everything else in 8."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import HALF, Comparison, Target
from velocity.artefacts.targets.onnx import load

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained


def write_low_bits(trained: Trained, folder: Path, source: Path | None, bits: int) -> dict[str, Any]:
    """``model.onnx``. Weights trained with ``finetune.weight_bits`` of ``bits`` keep their values, others are rounded
    to nearest."""
    from velocity.artefacts.low_bit_graph import low_bit_graph
    from velocity.artefacts.onnx_graph import graph_of_letters, save_graph

    graph = low_bit_graph(graph_of_letters(trained, source), trained.load(), bits)
    return {"weight_bits": bits} | save_graph(graph, folder, trained, f"onnx-int{bits}")


TARGETS = {
    "onnx-int4": Target(
        order=50,
        about="4-bit weights, for models trained with finetune.weight_bits: 4; half the size, no faster",
        write=partial(write_low_bits, bits=4),
        model="model.onnx",
        made_from="onnx",
        comparison=Comparison(load, "onnxruntime", "int4", HALF, words="int4", near_float=False),
        timed=True,
        transcribes=True,
    ),
    "onnx-int2": Target(
        order=60,
        about="2-bit weights, for models trained with finetune.weight_bits: 2; a quarter of the size",
        write=partial(write_low_bits, bits=2),
        model="model.onnx",
        made_from="onnx",
        comparison=Comparison(load, "onnxruntime", "int2", HALF, words="int2", near_float=False),
        timed=True,
        transcribes=True,
    ),
}
