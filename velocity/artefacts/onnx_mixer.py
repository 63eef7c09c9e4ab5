"""The selective SSM in an exported graph: few large operators, in the layout that needs the fewest copies.

Channels come before time, (b · chunks, channels, q), so that every operand of the scan's products is a view. It is the
scan of ``velocity.model.ssd`` otherwise, of sequences without padding: the graph takes whole utterances.

The exporter sees one operator, ``Mixer``, which ``expand_mixers`` replaces: a trace of what is inside would take most
of the time of an export, and end in ten times as many nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

from velocity.model.block import SelectiveSSM

DOMAIN = "velocity"  # of the operator that stands for the mixer until it is expanded
CHUNK = 64  # frames; the sums are the same for any number, and this one is fastest on processors


@contextmanager
def mixers_as_operators(model: nn.Module) -> Iterator[None]:
    """Within it, each ``SelectiveSSM`` of ``model`` is traced as one operator between its input and its norm."""
    layers = [module for module in model.modules() if isinstance(module, SelectiveSSM)]
    try:
        for layer in layers:
            layer.forward = partial(_traced, layer)
        yield
    finally:
        for layer in layers:
            del layer.forward


def _traced(ssm: SelectiveSSM, u: Tensor, mask: Tensor) -> Tensor:
    """``SelectiveSSM.forward``, where ``mask`` is all ones: it gives the length only."""
    kernel = ssm.conv.kernel_size[0]
    around = F.pad(u.transpose(1, 2), (ssm.before, kernel - 1 - ssm.before))
    projected = ssm.input(u + ssm.conv(around).transpose(1, 2))
    inside = (ssm.step_bias, ssm.log_rate, ssm.skip)
    sizes = {"heads": ssm.heads, "head_dim": ssm.head_dim, "state": ssm.state, "groups": ssm.groups}
    y = torch.onnx.ops.symbolic(
        f"{DOMAIN}::Mixer",
        (projected, mask, *inside),
        sizes,
        dtype=projected.dtype,
        shape=(*projected.shape[:2], ssm.inner),
        version=1,
    )
    return ssm.output(ssm.norm(y))


def expand_mixers(proto: onnx.ModelProto, chunk: int = CHUNK) -> None:
    """Replace each ``Mixer`` of ``proto`` by operators that runtimes know."""
    graph = proto.graph
    constants: dict[str, np.ndarray] = {}
    lengths: dict[str, _Length] = {}
    frames: _Chunk | None = None
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.domain != DOMAIN:
            nodes.append(node)
            continue
        groups, mask = helper.get_node_attr_value(node, "groups"), node.input[1]
        if frames is None:
            frames = _chunk(_Writer("chunk", nodes, constants), groups, chunk)
        if mask not in lengths:
            lengths[mask] = _length(_Writer(f"{mask}.length", nodes, constants), mask, groups, chunk)
        _expand(node, _Writer(node.output[0], nodes, constants), lengths[mask], frames, chunk)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    for opset in [opset for opset in proto.opset_import if opset.domain == DOMAIN]:
        proto.opset_import.remove(opset)


class _Writer:
    """Appends nodes, whose outputs are called after ``name``, and constants, of which equal ones are kept once."""

    def __init__(self, name: str, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
        self.name, self.nodes, self.constants, self._count = name, nodes, constants, count()

    def __call__(self, kind: str, *inputs: Any, outputs: int = 1, result: str | None = None, **attributes: Any) -> Any:
        """The output of a new node, or their list; an input that is no name is a constant."""
        names = [f"{self.name}.{next(self._count)}" for _ in range(outputs)] if result is None else [result]
        operands = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(kind, operands, names, names[0], **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int64)
        for name, other in self.constants.items():
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return name
        name = f"mixer.{len(self.constants)}"
        self.constants[name] = array
        return name


class _Length(NamedTuple):
    """What all layers of a sequence of l frames share, c chunks of q frames."""

    batch: str  # [b]
    frames: str  # [l]
    missing: str  # [c·q - l]
    hidden: str  # (g, 1, c, c): 0 where the chunk of a column comes before that of a row, in either direction, or -inf


def _length(write: _Writer, mask: str, groups: int, chunk: int) -> _Length:
    batch, frames = write("Shape", mask, end=1), write("Shape", mask, start=1, end=2)
    chunks = write("Div", write("Add", frames, [chunk - 1]), [chunk])
    missing = write("Sub", write("Mul", chunks, [chunk]), frames)
    index = write("Range", 0, write("Squeeze", chunks, [0]), 1)
    row, column = write("Unsqueeze", index, [1]), write("Unsqueeze", index, [0])
    before = [write("Less", *pair) for pair in ((column, row), (row, column))[:groups]]
    hidden = write("Where", write("Concat", *(write("Unsqueeze", way, [0, 1]) for way in before), axis=0), 0.0, -np.inf)
    return _Length(batch, frames, missing, hidden)


def _expand(node: onnx.NodeProto, write: _Writer, length: _Length, frames: _Chunk, q: int) -> None:
    """The nodes of one mixer; b batch, l frames, c chunks of q frames, g groups of h heads, p head width, n state."""
    projected, _, step_bias, log_rate, skip = node.input
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    heads, p, n, g = (given[name] for name in ("heads", "head_dim", "state", "groups"))
    h, inner = heads // g, heads * p
    gate, mixed, step = write("Split", projected, [inner, inner + 2 * g * n, heads], outputs=3, axis=2)

    # Batch and chunks are one axis: no tensor has more than five, which is all that phones know.
    # Frames that fill the last chunk: (bc, channels, q), of which x (bc, g, h·p, q), B and C (bc, g, n, q)
    mixed = write("Pad", mixed, write("Concat", [0, 0, 0, 0], length.missing, [0], axis=0))
    mixed = write("Transpose", write("Reshape", mixed, [-1, q, inner + 2 * g * n]), perm=[0, 2, 1])
    x, B, C = write("Split", mixed, [inner, g * n, g * n], outputs=3, axis=1)
    B, C = (write("Reshape", part, [0, g, n, q]) for part in (B, C))

    # Steps and sums of log decays: (bc, g, h, …)
    step = write("Softplus", write("Add", step, step_bias))
    step = write("Pad", step, write("Concat", [0, 0, 0, 0], length.missing, [0], axis=0))  # those that fill are 0
    step = write("Transpose", write("Reshape", step, [-1, q, heads]), perm=[0, 2, 1])
    rate = write("Reshape", write("Neg", write("Exp", log_rate)), [heads, 1])
    decay = write("Reshape", write("Mul", step, rate), [0, g, h, q])
    sums = write("MatMul", decay, frames.sums)
    until, spans, total = write("Split", sums, [q, 2 * q, 1], outputs=3, axis=3)
    to_end, from_start = write("Split", write("Exp", spans), [q, q], outputs=2, axis=3)
    step = write("Reshape", step, [0, g, h, q])

    # Within a chunk, of j (rows) to i (columns): B_j · C_i · exp(decays between) · Δ_j, and the skip where i = j
    before = write("Unsqueeze", write("Sub", until, write("Log", step)), [4])
    between = write("Sub", write("Unsqueeze", until, [3]), before)  # (bc, g, h, j, i)
    between = write("Exp", write("Add", between, frames.hidden))
    similar = write("MatMul", write("Transpose", B, perm=[0, 1, 3, 2]), C)  # (bc, g, j, i)
    joined = write("Mul", between, write("Unsqueeze", similar, [2]))
    diagonal = write("Where", frames.same, write("Reshape", skip, [g, h, 1, 1]), 0.0)
    joined = write("Add", joined, diagonal)
    x_heads = write("Reshape", x, [0, g, h, p, q])
    y = write("MatMul", x_heads, joined)  # (bc, g, h, p, q)

    # What each chunk adds to the state, and the state that each is entered with: (bc, g, h·p, n)
    weighted = write("Mul", x_heads, write("Unsqueeze", write("Mul", step, to_end), [3]))
    weighted = write("Reshape", weighted, [0, g, h * p, q])
    update = write("MatMul", weighted, write("Transpose", B, perm=[0, 1, 3, 2]))
    update = write("Reshape", update, write("Concat", length.batch, [-1, g, h, p * n], axis=0))
    update = write("Transpose", update, perm=[0, 2, 3, 1, 4])
    total = write("Reshape", total, write("Concat", length.batch, [-1, g, h], axis=0))
    entering = write("MatMul", _carried(write, total, length, g), update)  # (b, g, h, c, p·n)
    entering = write("Reshape", write("Transpose", entering, perm=[0, 3, 1, 2, 4]), [-1, g, h * p, n])
    read = write("Reshape", write("MatMul", entering, C), [0, g, h, p, q])
    y = write("Add", y, write("Mul", read, write("Unsqueeze", from_start, [3])))

    y = write("Transpose", write("Reshape", y, [0, inner, q]), perm=[0, 2, 1])
    y = write("Reshape", y, write("Concat", length.batch, [-1, inner], axis=0))
    y = write("Slice", y, [0], length.frames, [1])
    write("Mul", y, write("Mul", gate, write("Sigmoid", gate)), result=node.output[0])


class _Chunk(NamedTuple):
    """Constants of the frames within a chunk, the earlier ones in rows and the later ones in columns.

    They are written as the few operators that make them, which onnxruntime runs when it loads the graph.
    """

    sums: str  # (g, q, 3·q + 1): see _chunk
    hidden: str  # (g, 1, q, q): 0 where the frame of a row comes before that of a column, or is it, and else -inf
    same: str  # (q, q) bool: the diagonal


def _chunk(write: _Writer, g: int, q: int) -> _Chunk:
    """``sums`` is what log decays are multiplied by to give, for each frame,

    - a number whose difference between two frames is the decay between them;
    - the decay from the frame to the end of its chunk, and that from the beginning to the frame;
    - the decay of the chunk. For the backward heads, the end is the beginning and the beginning is the end.
    """
    row, column = write("Unsqueeze", np.arange(q), [1]), write("Unsqueeze", np.arange(q), [0])
    number = lambda kind: write("Cast", write(kind, row, column), to=onnx.TensorProto.FLOAT)  # noqa: E731
    until, later = number("LessOrEqual"), number("Greater")
    sums, hidden = [[until, later, until]], ["Greater"]
    if g == 2:
        earlier = number("Less")
        sums.append([write("Neg", earlier), earlier, number("GreaterOrEqual")])
        hidden.append("Less")
    sums = [write("Unsqueeze", write("Concat", *parts, np.ones((q, 1)), axis=1), [0]) for parts in sums]
    hidden = [write("Unsqueeze", write(kind, row, column), [0, 1]) for kind in hidden]
    return _Chunk(
        write("Concat", *sums, axis=0),
        write("Where", write("Concat", *hidden, axis=0), -np.inf, 0.0),
        write("Equal", row, column),
    )


def _carried(write: _Writer, total: str, length: _Length, g: int) -> str:
    """Log decays of the chunks (b, c, g, h) → (b, g, h, c, c): what is left of the update of the chunk of a column
    where that of a row is entered."""
    total = write("Transpose", total, perm=[0, 2, 3, 1])  # (b, g, h, c)
    until = write("CumSum", total, 3)
    if g == 2:
        # Backward heads count from the other side: differences have the other sign, rows and columns change places.
        forward = np.array([1.0, 0.0])[:, None, None]
        until = write("Mul", until, 2 * forward - 1)
        row = write("Sub", until, write("Mul", total, forward))
        column = write("Add", until, write("Mul", total, 1 - forward))
    else:
        row, column = write("Sub", until, total), until
    between = write("Sub", write("Unsqueeze", row, [4]), write("Unsqueeze", column, [3]))
    return write("Exp", write("Add", between, length.hidden))
