"""The INT8 artefact: the floating-point graph with each linear layer's product between trained scales (QDQ format)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from velocity.errors import VelocityError
from velocity.quantization.linear import QuantizedLinear, quantized_layers

LARGE = 1 << 16
Replacement = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]  # constants and nodes


def quantize_graph(proto: onnx.ModelProto, model: nn.Module) -> onnx.ModelProto:
    """Rewrite ``proto``, exported from the floating point of ``model``, with the integers and ranges of its layers.

    Every ``MatMul(x, W)`` whose W is a layer's weight becomes
    ``MatMul(DequantizeLinear(QuantizeLinear(x)), DequantizeLinear(W int8))``, which onnxruntime runs as one integer
    product. The large weights of convolutions, which are not quantised, are kept in 16 bits.
    Raises VelocityError when a layer has no such product: the graph is of other weights.
    """
    layers = quantized_layers(model)
    weights = {name: layer.weight for name, layer in layers.items()}
    replace_products(proto, weights, lambda node, name: _quantized(node, name, layers[name]))
    halve_convolutions(proto)
    onnx.checker.check_model(proto)
    return proto


def replace_products(
    proto: onnx.ModelProto, weights: Mapping[str, Tensor], replace: Callable[[onnx.NodeProto, str], Replacement]
) -> None:
    """Put ``replace(node, layer)`` in the place of each product with one of the ``weights``, layer → (out, in).

    Weights are recognised by value, since exporters rename them when they transpose them.
    Raises VelocityError when a layer has no such product.
    """
    layers = {key(weight.detach().numpy().T): name for name, weight in weights.items()}
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes, left = [], set(layers.values())
    for node in proto.graph.node:
        weight = tensors.get(node.input[1]) if node.op_type == "MatMul" else None
        name = layers.get(key(numpy_helper.to_array(weight))) if weight is not None else None
        if name is None:
            nodes.append(node)
            continue
        left.discard(name)
        constants, replacement = replace(node, name)
        proto.graph.initializer.extend(constants)
        proto.graph.initializer.remove(weight)
        nodes += replacement
    if left:
        raise VelocityError(f"the exported graph has no product with the weight of {sorted(left)[0]}; export it again")
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _quantized(node: onnx.NodeProto, name: str, layer: QuantizedLinear) -> Replacement:
    """The constants and nodes that stand for ``node``; x int8 per tensor, W (in, out) int8 per output channel."""
    integers, weight_scale = layer.integer_weight()
    scale, zero = layer.activation_grid()
    constants = {
        "weight": np.ascontiguousarray(integers.numpy().T),
        "weight_scale": weight_scale.numpy(),
        "input_scale": scale.numpy(),
        "input_zero": zero.numpy().astype(np.int8),
    }
    grid = [f"{name}.input_scale", f"{name}.input_zero"]
    x_int8, x, weight = (f"{name}.{part}" for part in ("input_int8", "input", "weight_float"))
    return (
        [numpy_helper.from_array(value, f"{name}.{part}") for part, value in constants.items()],
        [
            helper.make_node("QuantizeLinear", [node.input[0], *grid], [x_int8], f"{name}.quantize"),
            helper.make_node("DequantizeLinear", [x_int8, *grid], [x], f"{name}.dequantize"),
            helper.make_node(
                "DequantizeLinear", [f"{name}.weight", f"{name}.weight_scale"], [weight], f"{name}.unpack", axis=1
            ),
            helper.make_node("MatMul", [x, weight], node.output, node.name),
        ],
    )


def halve_convolutions(proto: onnx.ModelProto) -> None:
    """Keep the weights of convolutions in 16 bits, if they take more than ``LARGE`` bytes. Runtimes turn them into 32
    when they load the model. The rounding, of one part in 2,000, is far below that of INT8."""
    large = {tensor.name: tensor for tensor in proto.graph.initializer if len(tensor.raw_data) > LARGE}
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Conv" and (tensor := large.get(node.input[1])):
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
            node.input[1] = f"{tensor.name}.float"
            kind = onnx.TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [tensor.name], [node.input[1]], f"{tensor.name}.unpack", to=kind))
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    """What a constant is recognised by: shape and values."""
    return array.shape, np.ascontiguousarray(array, dtype=np.float32).tobytes()
