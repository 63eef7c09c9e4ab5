"""Large weights of convolutions in 16 bits: half the bytes, the same numbers but for the rounding."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from velocity.artefacts.onnx_int8 import LARGE, halve_convolutions
from velocity.quantization.base import _value


def graph(channels: int) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((channels, channels, 3)).astype(np.float32)
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, None])  # noqa: E731
    node = helper.make_node("Conv", ["x", "conv.weight"], ["y"], pads=[1, 1])
    body = helper.make_graph(
        [node], "conv", [value("x")], [value("y")], [numpy_helper.from_array(weight, "conv.weight")]
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]


def test_a_large_convolution_is_halved_and_computes_the_same():
    proto = graph(128)
    x = np.random.default_rng(1).standard_normal((1, 128, 50)).astype(np.float32)
    size, before = proto.ByteSize(), run(proto, x)
    halve_convolutions(proto)
    onnx.checker.check_model(proto)
    assert proto.ByteSize() < 0.51 * size
    np.testing.assert_allclose(run(proto, x), before, atol=5e-3 * np.abs(before).max())
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert tensors["conv.weight"].dtype == np.float16
    assert _value("conv.weight", tensors).dtype == np.float32  # as a training goes on from it


def test_a_small_convolution_stays_as_it_is():
    proto = graph(16)
    assert proto.ByteSize() < LARGE
    before = proto.SerializeToString()
    halve_convolutions(proto)
    assert proto.SerializeToString() == before
