"""The targets ``onnx-int4`` and ``onnx-int2``: weights of few bits, everything else in 8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.provenance import labels

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained


def write_low_bits(trained: Trained, folder: Path, source: Path | None, bits: int) -> dict[str, Any]:
    """``model.onnx``, of the graph in ``source`` or anew. Weights that were trained with ``finetune.weight_bits`` of
    ``bits`` keep their values, others are rounded to nearest."""
    import onnx

    from velocity.artefacts.low_bit_graph import low_bit_graph
    from velocity.artefacts.onnx import export_onnx, set_labels
    from velocity.model.asr import load_model

    model = load_model(trained.weights)
    graph = low_bit_graph(onnx.load(source / "model.onnx") if source else export_onnx(model), model, bits)
    set_labels(graph, labels(trained, f"onnx-int{bits}"))
    onnx.save(graph, folder / "model.onnx")
    return {"weight_bits": bits, "opset": graph.opset_import[0].version}
