"""The graph of an artefact of 4 or 2 bits a weight: ``MatMulNBits`` for the linear layers, and little around it.

At 2 bits the weights of the reference model take 1.02 MB, and all else has to be small as well: convolutions, biases
and norms lie in one tensor of 8-bit blocks, the steps of the rows in one of 16-bit floats, both cut to pieces when
onnxruntime folds constants. Names inside the graph have one to three letters, and default attributes are omitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, product
from string import ascii_letters, digits

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from velocity.artefacts.onnx_graph import OPSET
from velocity.artefacts.onnx_int8 import Replacement, key, replace_products
from velocity.quantization.low_bits import PACKED_FROM, ZERO_POINT, round_blocks, round_rows

DOMAIN = "com.microsoft"  # of onnxruntime's own operators
ROW_BLOCKS = (128, 64, 32, 16)  # inputs that MatMulNBits lets share a scale; here all of a row's blocks have the same


def low_bit_graph(proto: onnx.ModelProto, model: nn.Module, bits: int) -> onnx.ModelProto:
    """Rewrite ``proto``, exported from the floating point of ``model``, with weights of ``bits`` bits.

    Raises VelocityError when the graph is of other weights.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    steps: dict[str, np.ndarray] = {}

    def low_bit_product(node: onnx.NodeProto, name: str) -> Replacement:
        codes, step = round_rows(layers[name].weight, bits)
        steps[f"{name}.step"] = step.half().unsqueeze(1).numpy()
        return _product(node, name, codes.numpy(), bits)

    replace_products(proto, {name: layer.weight for name, layer in layers.items()}, low_bit_product)
    parts = [pack_floats(steps), pack_blocks(proto, [p for p in model.parameters() if p.numel() >= PACKED_FROM])]
    graph = proto.graph
    nodes = [node for _, unpacking in parts for node in unpacking] + list(graph.node)
    graph.initializer.extend(tensor for constants, _ in parts for tensor in constants)
    del graph.node[:]
    graph.node.extend(nodes)
    share_constants(graph)
    drop_defaults(graph)
    shorten_names(graph)
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(proto)
    return proto


def _product(node: onnx.NodeProto, name: str, codes: np.ndarray, bits: int) -> Replacement:
    """The constants and nodes that stand for ``node``, a product with the rows of ``codes`` (out, in)."""
    rows, inputs = codes.shape
    size = next((size for size in ROW_BLOCKS if inputs % size == 0), ROW_BLOCKS[-1])
    blocks = -(-inputs // size)
    codes = np.pad(codes, ((0, 0), (0, blocks * size - inputs))).reshape(rows, blocks, size)
    each = 8 // bits  # codes a byte, the first in the lowest bits
    packed = sum(codes[..., place::each] << (bits * place) for place in range(each))
    constants = {"codes": packed.astype(np.uint8), "shape": np.array([rows, blocks])}
    nodes = [helper.make_node("Expand", [f"{name}.step", f"{name}.shape"], [f"{name}.steps"])]
    operands = [node.input[0], f"{name}.codes", f"{name}.steps"]
    if ZERO_POINT[bits] != 2 ** (bits - 1):  # which MatMulNBits takes where none is given
        constants["zero"] = np.array(ZERO_POINT[bits], dtype=np.float32)
        nodes.append(helper.make_node("Expand", [f"{name}.zero", f"{name}.shape"], [f"{name}.zeros"]))
        operands.append(f"{name}.zeros")
    dimensions = {"K": inputs, "N": rows, "bits": bits, "block_size": size}
    nodes.append(helper.make_node("MatMulNBits", operands, node.output, domain=DOMAIN, **dimensions))
    return [numpy_helper.from_array(value, f"{name}.{part}") for part, value in constants.items()], nodes


def pack_floats(parts: dict[str, np.ndarray]) -> Replacement:
    """Tensors in 16 bits, name → values, as one constant and the nodes that cut it up, in 32 bits."""
    flat = np.concatenate([part.ravel() for part in parts.values()])
    nodes = [helper.make_node("Cast", ["steps"], ["steps.float"], to=onnx.TensorProto.FLOAT)]
    constants, cutting = _cut("steps.float", {name: (part.shape, part.size) for name, part in parts.items()})
    return [numpy_helper.from_array(flat, "steps"), *constants], nodes + cutting


def pack_blocks(proto: onnx.ModelProto, parameters: list[Tensor]) -> Replacement:
    """Take the ``parameters`` out of the graph's constants, found by their values, and into one of 8-bit blocks."""
    wanted = {key(parameter.detach().numpy()) for parameter in parameters}
    packed = [tensor for tensor in proto.graph.initializer if _float_key(tensor) in wanted]
    codes, steps, shapes = [], [], {}
    for tensor in packed:
        blocks, step = round_blocks(torch.from_numpy(numpy_helper.to_array(tensor).copy()))
        codes.append(blocks)
        steps.append(step)
        shapes[tensor.name] = tuple(tensor.dims), blocks.numel()
        proto.graph.initializer.remove(tensor)
    constants = {
        "blocks": torch.cat(codes).numpy(),
        "blocks.step": torch.cat(steps).half().unsqueeze(1).numpy(),
        "blocks.flat": np.array([-1]),
    }
    nodes = [
        helper.make_node("Cast", ["blocks"], ["blocks.float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Cast", ["blocks.step"], ["blocks.step.float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["blocks.float", "blocks.step.float"], ["blocks.values"]),
        helper.make_node("Reshape", ["blocks.values", "blocks.flat"], ["rest"]),
    ]
    shaping, cutting = _cut("rest", shapes)
    return [numpy_helper.from_array(value, name) for name, value in constants.items()] + shaping, nodes + cutting


def _float_key(tensor: onnx.TensorProto) -> tuple[tuple[int, ...], bytes] | None:
    return key(numpy_helper.to_array(tensor)) if tensor.data_type == onnx.TensorProto.FLOAT else None


def _cut(flat: str, pieces: dict[str, tuple[tuple[int, ...], int]]) -> Replacement:
    """Cut the vector ``flat`` into tensors, name → (shape, values it takes there, a block's filling included)."""
    constants, nodes, sizes, outputs = [], [], [], []
    for name, (shape, taken) in pieces.items():
        held = int(np.prod(shape))
        sizes.append(held)
        outputs.append(name if len(shape) == 1 else f"{name}.flat")
        if taken > held:
            sizes.append(taken - held)
            outputs.append(f"{name}.filling")
        if len(shape) > 1:
            constants.append(numpy_helper.from_array(np.array(shape), f"{name}.dims"))
            nodes.append(helper.make_node("Reshape", [f"{name}.flat", f"{name}.dims"], [name]))
    constants.append(numpy_helper.from_array(np.array(sizes), f"{flat}.sizes"))
    return constants, [helper.make_node("Split", [flat, f"{flat}.sizes"], outputs, axis=0), *nodes]


def share_constants(graph: onnx.GraphProto) -> None:
    """Keep one of the constants that are equal."""
    kept: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for tensor in list(graph.initializer):
        name, tensor.name = tensor.name, ""
        same[name] = kept.setdefault(tensor.SerializeToString(deterministic=True), name)
        tensor.name = name
        if same[name] != name:
            graph.initializer.remove(tensor)
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def drop_defaults(graph: onnx.GraphProto) -> None:
    """Leave out the attributes that say what the operators do anyway; a shape without 0 needs none to allow it."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        known = onnx.defs.get_schema(node.op_type, OPSET).attributes if not node.domain else {}
        kept = [a for a in node.attribute if a.name not in known or a != known[a.name].default_value]
        if node.op_type == "Reshape" and 0 not in constants.get(node.input[1], [0]):
            kept = []
        del node.attribute[:]
        node.attribute.extend(kept)


def shorten_names(graph: onnx.GraphProto) -> None:
    """Give all but the graph's inputs and outputs the shortest names there are."""
    short = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    fresh = _names()

    def rename(name: str) -> str:
        if name not in short:
            short[name] = next(fresh)
        return short[name]

    for node in graph.node:
        node.name = ""
        node.input[:] = map(rename, node.input)
        node.output[:] = map(rename, node.output)
    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)


def _names() -> Iterator[str]:
    """a, b, … aa, ab, …"""
    for length in count(1):
        yield from map("".join, product(ascii_letters + digits, repeat=length))
