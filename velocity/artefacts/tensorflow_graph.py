"""An ONNX graph as a TensorFlow program, for the converter to TFLite, which reads no ONNX.

There is no second definition of the model that would have to be kept equal: what PyTorch's exporter wrote is carried
over operator by operator, batch and time as dynamic as they were. Only the operators of our own graphs are here, and
only as what becomes built-in operators of TFLite. Their meaning: https://onnx.ai/onnx/operators/, opset 18.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

from velocity.errors import VelocityError

Value = Any  # np.ndarray where it is a constant of the graph, else tf.Tensor
END = 2**31 - 1  # a slice that ends there goes on to the end


def tensorflow_program(proto: onnx.ModelProto) -> tf.types.experimental.PolymorphicFunction:
    """The graph as a ``tf.function``: its inputs in order → its outputs by name. int64 becomes int32, which TFLite's
    shapes are made of.

    Raises VelocityError for an operator that is not known here.
    """
    graph = proto.graph
    nodes = with_gelu(list(graph.node))
    for node in nodes:
        if node.op_type not in OPERATORS:
            raise VelocityError(f"{node.op_type}: an ONNX operator that the export to TFLite does not know")
    constants = {tensor.name: _narrow(numpy_helper.to_array(tensor)) for tensor in graph.initializer}
    sizes = {tensor.name: tensor.type.tensor_type.shape.dim for tensor in graph.input}

    @tf.function(
        input_signature=[tf.TensorSpec([n.dim_value or None for n in dims], name=name) for name, dims in sizes.items()],
        autograph=False,
    )
    def program(*arguments: tf.Tensor) -> dict[str, tf.Tensor]:
        values: dict[str, Value] = {"": None, **constants, **dict(zip(sizes, arguments, strict=True))}
        for node in nodes:
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if node.op_type == "Split":
                attributes["parts"] = len(node.output)
            result = OPERATORS[node.op_type](*(values[name] for name in node.input), **attributes)
            values.update(zip(node.output, result if isinstance(result, list) else [result], strict=True))
        return {output.name: values[output.name] for output in graph.output}

    return program


def with_gelu(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """x · (1 + erf(x / √2)) · ½, five nodes of the exported graph, as one ``Gelu``: TFLite has that, but no Erf."""
    makers = {name: node for node in nodes for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    gelus: dict[str, onnx.NodeProto] = {}  # output of the last of the five → what stands for them
    inside: set[str] = set()  # outputs of the others
    for erf in (node for node in nodes if node.op_type == "Erf"):
        chain = [makers[erf.input[0]]] * (erf.input[0] in makers) + [erf]
        while len(chain) < 5 and len(users.get(chain[-1].output[0], [])) == 1:
            chain += users[chain[-1].output[0]]
        x, last = chain[0].input[0], chain[-1]
        if [node.op_type for node in chain] != ["Div", "Erf", "Add", "Mul", "Mul"] or x not in chain[3].input:
            raise VelocityError("Erf: an ONNX operator that the export to TFLite knows as a part of GELU only")
        gelus[last.output[0]] = helper.make_node("Gelu", [x], last.output)
        inside |= {node.output[0] for node in chain[:-1]}
    return [gelus.get(node.output[0], node) for node in nodes if node.output[0] not in inside]


def _narrow(array: np.ndarray) -> np.ndarray:
    """int64 → int32. What lies beyond, the ends of slices, is clipped."""
    return np.asarray(np.clip(array, -END - 1, END), np.int32) if array.dtype == np.int64 else array


def _integers(value: np.ndarray) -> list[int]:
    return [int(item) for item in np.atleast_1d(value)]


def cast(x: Value, to: int, **_: Any) -> tf.Tensor:
    kind = helper.tensor_dtype_to_np_dtype(to)
    return tf.cast(x, np.int32 if kind == np.int64 else kind)


def clip(x: Value, low: Value = None, high: Value = None) -> tf.Tensor:
    x = x if low is None else tf.maximum(x, low)
    return x if high is None else tf.minimum(x, high)


def conv(
    x: Value, weight: np.ndarray, bias: np.ndarray, *, group: int, pads: Sequence[int], strides: Sequence[int], **_: Any
) -> tf.Tensor:
    """Of images a pixel high: x (b, in, 1, t), weight (out, in / group, 1, k) → (b, out, 1, t'); group: 1, or a channel
    each."""
    x = tf.transpose(tf.pad(x, [[0, 0], [0, 0], [0, 0], [pads[1], pads[3]]]), [0, 2, 3, 1])  # (b, 1, t, in)
    if group == 1:
        y = tf.nn.conv2d(x, weight.transpose(2, 3, 1, 0), strides, "VALID")
    else:
        y = tf.nn.depthwise_conv2d(x, weight.transpose(2, 3, 0, 1), [1, strides[1], strides[1], 1], "VALID")
    return tf.transpose(y + bias, [0, 3, 1, 2])


def div(x: Value, y: Value) -> tf.Tensor:
    """Of integers, only sizes are divided here: none is negative, and the floor is what ONNX rounds to as well."""
    return tf.math.floordiv(x, y) if tf.as_dtype(x.dtype).is_integer else x / y


def expand(x: Value, to: Value) -> tf.Tensor:
    return tf.broadcast_to(x, tf.broadcast_dynamic_shape(tf.shape(x), to))


def gather(x: Value, index: Value, axis: int = 0) -> tf.Tensor:
    """A constant index may be negative: it counts from the end then."""
    if isinstance(index, np.ndarray) and (index < 0).any():
        index = np.where(index < 0, index + x.shape[axis], index).astype(np.int32)
    return tf.gather(x, index, axis=axis)


def gather_elements(x: Value, index: Value, axis: int) -> tf.Tensor:
    """By the places in the flattened x: each other axis of ``index`` counts up."""
    rank, extent = len(x.shape), tf.shape(x)
    place = tf.zeros_like(index)
    for dim in range(rank):
        ramp = tf.reshape(tf.range(tf.shape(index)[dim]), [-1 if other == dim else 1 for other in range(rank)])
        place = place * extent[dim] + (index if dim == axis % rank else ramp)
    return tf.gather(tf.reshape(x, [-1]), place)


def layer_normalization(x: Value, scale: Value, bias: Value, *, epsilon: float, **_: Any) -> tf.Tensor:
    """Over the last axis. Scale and bias get an axis more: those of one axis the converter multiplies into the linear
    layer that follows, whose weights are no longer the trained ones then."""
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    normal = centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
    return normal * scale[np.newaxis] + bias[np.newaxis]


def max_pool(x: Value, *, kernel_shape: Sequence[int], pads: Sequence[int], **_: Any) -> tf.Tensor:
    """Of images a pixel high: (b, c, 1, t) → the same or, without padding, shorter by the window less 1."""
    padding = "SAME" if any(pads) else "VALID"  # the same on both sides of an odd window, or none
    return tf.transpose(tf.nn.max_pool2d(tf.transpose(x, [0, 2, 3, 1]), kernel_shape, 1, padding), [0, 3, 1, 2])


def pad(x: Value, pads: Value, value: Value = None, *, mode: bytes = b"constant") -> tf.Tensor:
    """With a constant, on every axis: first what comes before each axis, then what comes after."""
    if mode != b"constant":
        raise VelocityError(f"Pad by {mode.decode()}: the export to TFLite knows constants only")
    return tf.pad(x, tf.transpose(tf.reshape(pads, [2, -1])), constant_values=0.0 if value is None else value)


def reduction(reduce: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return lambda x, axes, *, keepdims=1, **_: reduce(x, _integers(axes), bool(keepdims))


def reshape(x: Value, to: Value, **_: Any) -> tf.Tensor:
    """A constant size of 0 is that of the same axis of x."""
    if isinstance(to, np.ndarray) and (to == 0).any():
        to = tf.stack([tf.shape(x)[axis] if size == 0 else size for axis, size in enumerate(_integers(to))])
    return tf.reshape(x, to)


def slice_(x: Value, starts: Value, ends: Value, axes: Value, steps: Value = None) -> tf.Tensor:
    """Starts and ends may be computed. A negative step turns the whole axis round: what ``flip`` is exported as."""
    window: list[slice] = [slice(None)] * len(x.shape)
    for place, axis in enumerate(_integers(axes)):
        step = 1 if steps is None else int(steps[place])
        if step < 0:
            x = tf.reverse(x, [axis % len(x.shape)])
            continue
        start, end = (int(side[place]) if isinstance(side, np.ndarray) else side[place] for side in (starts, ends))
        window[axis] = slice(start, None if isinstance(end, int) and end == END else end, step)
    return x[tuple(window)]


def softplus(x: Value) -> tf.Tensor:
    """max(x, 0) + log(1 + u) with u = exp(-|x|), the logarithm as 2·artanh(u / (2 + u)) by its series, to 1e-7 of its
    value. Phones' logarithms are as exact near 1 only in absolute terms, and decays are exponentials of these steps."""
    u = tf.exp(-tf.abs(x))
    t = u / (2.0 + u)  # ≤ 1/3
    square, series = t * t, 1 / 15
    for odd in (13, 11, 9, 7, 5, 3, 1):
        series = series * square + 1 / odd
    return tf.nn.relu(x) + 2.0 * t * series


def split(x: Value, sizes: Value = None, *, axis: int, parts: int, **_: Any) -> list[tf.Tensor]:
    return tf.split(x, parts if sizes is None else _integers(sizes), axis)


def squeeze(x: Value, axes: Value = None) -> tf.Tensor:
    """By a shape, not by TFLite's own operator, which the converter does not write for an axis that it cannot see."""
    away = [axis for axis, size in enumerate(x.shape) if size == 1] if axes is None else _integers(axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in {axis % len(x.shape) for axis in away}]
    return tf.reshape(x, tf.gather(tf.shape(x), np.array(kept, np.int32)))


def unsqueeze(x: Value, axes: Value) -> tf.Tensor:
    axes = _integers(axes)
    for axis in sorted(axis % (len(x.shape) + len(axes)) for axis in axes):
        x = tf.expand_dims(x, axis)
    return x


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda x, y: x + y,
    "And": tf.logical_and,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda *parts, axis: tf.concat(parts, axis),
    "Conv": conv,
    "Cos": tf.cos,
    "CumSum": lambda x, axis, **_: tf.cumsum(x, int(axis)),
    "Div": div,
    "Equal": tf.equal,
    "Exp": tf.exp,
    "Expand": expand,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": lambda x, index, *, batch_dims=0: tf.gather_nd(x, index, batch_dims),
    "Gelu": lambda x: tf.nn.gelu(x, approximate=False),
    "Greater": tf.greater,
    "GreaterOrEqual": tf.greater_equal,
    "LayerNormalization": layer_normalization,
    "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Log": tf.math.log,
    "LogSoftmax": lambda x, axis: tf.nn.log_softmax(x, axis),
    "MatMul": tf.matmul,
    "Max": tf.maximum,
    "MaxPool": max_pool,
    "Min": tf.minimum,
    "Mod": lambda x, y, **_: tf.math.floormod(x, y),
    "Mul": lambda x, y: x * y,
    "Neg": tf.negative,
    "Or": tf.logical_or,
    "Pad": pad,
    "Range": tf.range,
    "ReduceMax": reduction(tf.reduce_max),
    "ReduceMean": reduction(tf.reduce_mean),
    "ReduceSum": reduction(tf.reduce_sum),
    "Reshape": reshape,
    "Shape": lambda x, *, start=0, end=None: tf.shape(x)[start:end],
    "Sigmoid": tf.sigmoid,
    "Sin": tf.sin,
    "Slice": slice_,
    "Softmax": lambda x, axis: tf.nn.softmax(x, axis),
    "Softplus": softplus,
    "Split": split,
    "Squeeze": squeeze,
    "Sub": lambda x, y: x - y,
    "Transpose": lambda x, perm: tf.transpose(x, perm),
    "Unsqueeze": unsqueeze,
    "Where": tf.where,
}
