"""Operators of the conversion to TensorFlow, against ONNX's own reference implementation."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from velocity.errors import VelocityError

pytest.importorskip("tensorflow")


def graph(operator: str, constants: dict[str, np.ndarray], **attributes):
    """One operator on x (2, 3, 4) and ``constants``."""
    node = helper.make_node(operator, ["x", *constants], ["y"], **attributes)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", "c"]) for name in "xy")
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_model(
        helper.make_graph([node], "g", [x], [y], values), opset_imports=[helper.make_opsetid("", 18)]
    )


@pytest.mark.parametrize("value", [None, 0.0, -20.0])
def test_padding_has_the_value_that_the_graph_gives(value):
    import tensorflow as tf

    from velocity.artefacts.tensorflow_graph import tensorflow_program

    constants = {"pads": np.array([0, 1, 2, 0, 3, 0])}
    if value is not None:
        constants["value"] = np.array(value, np.float32)
    model, x = graph("Pad", constants), np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert np.array_equal(tensorflow_program(model)(tf.constant(x))["y"].numpy(), expected)


def test_padding_by_repetition_is_refused():
    from velocity.artefacts.tensorflow_graph import tensorflow_program

    with pytest.raises(VelocityError, match="Pad by reflect: the export to TFLite knows constants only"):
        tensorflow_program(graph("Pad", {"pads": np.array([0, 0, 1, 0, 0, 1])}, mode="reflect")).get_concrete_function()
