"""Core ML export: a program for iOS 16, macOS 13 and later, of one utterance of any length up to a minute.

Everything but what ``EXACT`` names is computed in 16 bits, which is what Apple's accelerators have.
"""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from velocity.artefacts.coreml_package import Package, import_coremltools
from velocity.artefacts.coreml_weights import FLOAT16, INT8, Blob, read_blob, write_blobs
from velocity.errors import VelocityError
from velocity.quantization.linear import QuantizedLinear, quantized_layers

EXAMPLE_FRAMES = 200  # of the traced example; the program holds for any number up to
MOST_FRAMES = 6400  # of 10 ms: Core ML wants a bound, to plan its memory with

# What stays in 32 bits, by the names of MIL's operations: running sums and their differences, which decays are made of;
# the angles of the positional encoding, as 16 bits count to 2048 only; what becomes a logarithm; and norms, as nothing
# keeps what they level from growing beyond 65,504. So do sums, products and what else hands values on to these alone.
EXACT = {"cumsum", "sub", "exp", "sin", "cos", "reduce_sum", "real_div", "softmax", "log", "select", "fill_like",
         "layer_norm", "shape"}  # fmt: skip
HANDING = {"add", "cast", "expand_dims", "matmul", "mul", "pad", "reshape", "slice_by_index", "transpose"}

ABOUT = {
    "author": "VELOCITY-ASR",
    "shortDescription": "English speech recognition: log-mel features in, CTC log-posteriors out",
}
FEATURES = {
    "mel_spectrogram": "log-mel of 16 kHz speech, 80 bins, 25 ms windows every 10 ms: (1, frames, 80)",
    "log_probs": "log-posteriors of the CTC classes, class 0 the blank: (1, frames out, classes)",
    "lengths": "frames out: (1)",
}


def export_coreml(model: nn.Module) -> Package:
    """``model`` as a program: ``mel_spectrogram`` (1, frames, 80) float32 → ``log_probs`` (1, frames', V) float32 and
    ``lengths`` (1,) int32."""
    ct = import_coremltools()
    _teach_converter()
    example = torch.zeros(1, EXAMPLE_FRAMES, model.config.mel_bins)
    with warnings.catch_warnings(), torch.no_grad(), patch.object(torch, "sym_max", _maximum):
        warnings.simplefilter("ignore")  # that what is the same in every program is a constant of it
        traced = torch.jit.trace(model.eval(), example, check_trace=False)
    frames = ct.RangeDim(1, MOST_FRAMES, EXAMPLE_FRAMES)
    with redirect_stderr(io.StringIO()):  # bars of progress
        converted = ct.convert(
            traced,
            inputs=[ct.TensorType("mel_spectrogram", (1, frames, model.config.mel_bins), np.float32)],
            outputs=[ct.TensorType("log_probs", dtype=np.float32), ct.TensorType("lengths", dtype=np.int32)],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.transform.FP16ComputePrecision(_in_16_bits),
            skip_model_load=True,
        )
    return Package(converted.get_spec(), (Path(converted.weights_dir) / "weight.bin").read_bytes())


def quantize_package(package: Package, model: nn.Module) -> Package:
    """``package``, made from the floating point of ``model``, with the trained integers of its layers' weights.

    Their 16-bit values become ``constexpr_affine_dequantize`` of an int8 for each and a 16-bit scale an output channel;
    what the layers are given stays in floating point. Weights are recognised by value.
    Raises VelocityError when a layer's weight is not there: the package is of other weights.
    """
    layers = {
        layer.weight.detach().numpy().astype(np.float16).tobytes(): (name, layer)
        for name, layer in quantized_layers(model).items()
    }
    left = {name for name, _ in layers.values()}
    blobs: list[Blob] = []
    values: list[Any] = []  # of the specification: those that lie in the file, in the order of ``blobs``
    for operation in package.block.operations:
        if operation.type != "const" or operation.attributes["val"].WhichOneof("value") != "blobFileValue":
            continue
        blob = read_blob(package.weights, operation.attributes["val"].blobFileValue.offset)
        name, layer = layers.get(blob.values, ("", None))
        left.discard(name)
        values += [operation.attributes["val"]] if layer is None else _dequantize(operation)
        blobs += [blob] if layer is None else _integers(layer)
    if left:
        raise VelocityError(f"the Core ML program has no weight of {sorted(left)[0]}; export it again")
    package.weights, records = write_blobs(blobs)
    for value, record in zip(values, records, strict=True):
        value.blobFileValue.offset = record
    return package


def _integers(layer: QuantizedLinear) -> list[Blob]:
    """The weight (out, in) and the scales (out,)."""
    integers, scale = layer.integer_weight()
    return [Blob(INT8, integers.numpy().tobytes()), Blob(FLOAT16, scale.numpy().astype(np.float16).tobytes())]


def _dequantize(operation: Any) -> list[Any]:
    """Turn a constant (out, in) into integers times scales; returns where the specification refers to the two."""
    from coremltools.converters.mil.backend.mil import helper
    from coremltools.converters.mil.mil import types

    value = operation.attributes["val"]
    file = value.blobFileValue.fileName
    shape = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
    attributes = {
        "quantized_data": helper.create_file_value_tensor(file, 0, shape, helper.types_to_proto_primitive(types.int8)),
        "scale": helper.create_file_value_tensor(file, 0, shape[:1], helper.types_to_proto_primitive(types.fp16)),
        "zero_point": helper.create_scalar_value(np.int8(0)),
        "axis": helper.create_scalar_value(np.int32(0)),
    }
    del operation.attributes["val"]
    operation.type = "constexpr_affine_dequantize"
    for key, value in attributes.items():
        operation.attributes[key].CopyFrom(value)
    return [operation.attributes[key] for key in ("quantized_data", "scale")]


def _in_16_bits(operation: Any) -> bool:
    if operation.op_type in HANDING:
        users = [user for output in operation.outputs for user in output.child_ops]
        return not users or any(_in_16_bits(user) for user in users)
    return operation.op_type not in EXACT


def _maximum(a: Any, b: Any) -> Any:
    """``torch.sym_max`` of sizes, which in a trace are tensors."""
    return torch.maximum(torch.as_tensor(a), torch.as_tensor(b))


def _teach_converter() -> None:
    """Whole numbers stay whole: the converter would divide and limit them in floating point, and 16 bits of that count
    to 2048. And one that it lacks."""
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, promote_input_dtypes

    @register_torch_op(torch_alias=["floordiv"], override=True)
    def floor_divide(context: Any, node: Any) -> None:
        x, y = promote_input_dtypes(_get_inputs(context, node, expected=2))
        context.add(mb.floor_div(x=x, y=y, name=node.name))

    @register_torch_op(torch_alias=["clip"], override=True)
    def clamp(context: Any, node: Any) -> None:
        x, *limits = _get_inputs(context, node, expected=[2, 3])
        for limit, operate in zip(limits, (mb.maximum, mb.minimum), strict=False):
            if limit is not None:
                x = operate(**dict(zip("xy", promote_input_dtypes([x, limit]), strict=True)))
        context.add(x, node.name)

    @register_torch_op(torch_alias=["or", "bitwise_or"], override=True)
    def logical_or(context: Any, node: Any) -> None:
        x, y = _get_inputs(context, node, expected=2)
        context.add(mb.logical_or(x=x, y=y, name=node.name))
