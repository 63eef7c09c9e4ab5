"""TFLite artefacts: converted by TensorFlow, given the trained integers here, and run by LiteRT."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.artefacts.tflite_file import TFLiteFile
from velocity.errors import VelocityError

if TYPE_CHECKING:  # whoever runs an artefact has no need of PyTorch
    from torch import nn

    from velocity.quantization.linear import QuantizedLinear

KEY = "velocity-asr"  # of the labels in the metadata


def tflite_from_onnx(proto: Any) -> bytes:
    """An ONNX graph as a TFLite file of built-in operators alone, batch and time dynamic.

    Raises VelocityError for an operator that the conversion does not know.
    """
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}  # no messages of its kernels
    import tensorflow as tf

    from velocity.artefacts.tensorflow_graph import tensorflow_program

    tf.get_logger().setLevel(logging.ERROR)
    program = tensorflow_program(proto)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([program.get_concrete_function()], program)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]  # nothing that a phone does not have
    return converter.convert()


def quantize_tflite(content: bytes, model: nn.Module) -> bytes:
    """Rewrite a TFLite file, made from the floating point of ``model``, with the integers and ranges of its layers.

    As in the ONNX artefact the weight of each linear layer is held as its trained int8 with a scale an output channel,
    and its input goes through the trained grid: ``FULLY_CONNECTED(DEQUANTIZE(QUANTIZE(x)), DEQUANTIZE(W int8))``. The
    product itself is in floating point: an integer one would ask for a grid of its output, and training knows none.
    Weights are recognised by value.
    Raises VelocityError when a layer has no such product: the file is of other weights.
    """
    from velocity.quantization.linear import quantized_layers

    layers = {layer.weight.detach().numpy().tobytes(): (name, layer) for name, layer in quantized_layers(model).items()}
    file = TFLiteFile(content)
    operators, left = [], {name for name, _ in layers.values()}
    for operator in file.graph.operators:
        found = layers.get(file.constant(operator.inputs[1])) if file.kind(operator) == "FULLY_CONNECTED" else None
        if found:
            left.discard(found[0])
            operators += _put_on_grids(file, operator, *found)
        operators.append(operator)
    if left:
        raise VelocityError(f"the exported graph has no product with the weight of {sorted(left)[0]}; export it again")
    file.graph.operators = operators
    return file.pack()


def _put_on_grids(file: TFLiteFile, product: Any, name: str, layer: QuantizedLinear) -> list[Any]:
    """Round the weight and the input of ``product`` as ``layer`` does; the operators that go before it."""
    integers, weight_scale = layer.integer_weight()
    scale, zero = layer.activation_grid()
    x, weight, *rest = product.inputs
    x_int8 = file.like(x, f"{name}.int8", scale.numpy(), zero.numpy())
    x_rounded, weight_float = file.like(x, f"{name}.input"), file.like(weight, f"{name}.weight")
    file.set_integers(weight, integers.numpy(), weight_scale.numpy())
    product.inputs = [x_rounded, weight_float, *rest]
    return [
        file.operator("QUANTIZE", x, x_int8),
        file.operator("DEQUANTIZE", x_int8, x_rounded),
        file.operator("DEQUANTIZE", weight, weight_float),
    ]


def set_labels(content: bytes, labels: Mapping[str, str]) -> bytes:
    """The file with ``labels``, as a JSON object, in its metadata entry ``velocity-asr``."""
    file = TFLiteFile(content)
    file.set_metadata(KEY, json.dumps(labels, sort_keys=True, ensure_ascii=False).encode())
    return file.pack()


class TFLiteModel:
    """A TFLite artefact run by LiteRT."""

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """Raises VelocityError when LiteRT cannot load the file."""
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(str(path), num_threads=threads)
        except ValueError as error:
            raise VelocityError(f"{path}: LiteRT cannot load it ({str(error).splitlines()[0]})") from error
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = {len(output["shape"]): output["index"] for output in self._interpreter.get_output_details()}
        self._log_probs, self._lengths = outputs[3], outputs[1]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """What the artefact takes, log-mel (b, frames, 80) or a waveform (b, samples), float32
        → (b, frames', V) float32 log-posteriors."""
        return self.run(x)[0]

    def run(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, and their lengths (b,) int32."""
        run = self._interpreter
        run.resize_tensor_input(self._input, x.shape)
        run.allocate_tensors()
        run.set_tensor(self._input, np.ascontiguousarray(x, dtype=np.float32))
        run.invoke()
        return run.get_tensor(self._log_probs), run.get_tensor(self._lengths)
