"""A TFLite file as objects: tensors, operators and metadata can be looked at, added and changed.

The format: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from velocity.errors import VelocityError

IDENTIFIER = b"TFL3"
VERSIONS = {"QUANTIZE": 1, "DEQUANTIZE": 5}  # of the operators that are added; 5: a scale for each channel


class TFLiteFile:
    """``content`` unpacked; ``pack`` gives the bytes again."""

    def __init__(self, content: bytes) -> None:
        """Raises VelocityError when it is no TFLite file."""
        from ai_edge_litert import schema_py_generated as schema

        if content[4:8] != IDENTIFIER:
            raise VelocityError("not a TFLite file")
        self.schema = schema
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[0]
        self._names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}

    def pack(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def kind(self, operator: Any) -> str:
        """ADD, FULLY_CONNECTED, …; CUSTOM for what is not built in."""
        return self._names[self.model.operatorCodes[operator.opcodeIndex].builtinCode]

    def constant(self, tensor: int) -> bytes:
        """The bytes of a constant tensor; none of one that is computed."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return b"" if data is None else bytes(data)

    def like(self, tensor: int, name: str, scale: np.ndarray | None = None, zero: np.ndarray | None = None) -> int:
        """Add a tensor to be computed, of the shape of another: float32, or int8 on a grid. Its index."""
        made = copy.copy(self.graph.tensors[tensor])
        made.name, made.buffer, made.quantization = name, 0, None
        made.type = self.schema.TensorType.FLOAT32
        self.graph.tensors.append(made)
        if scale is not None:
            self._set_grid(made, scale, zero)
        return len(self.graph.tensors) - 1

    def set_integers(self, tensor: int, integers: np.ndarray, scale: np.ndarray) -> None:
        """Make a constant int8, symmetric, with a scale for each index of its first axis."""
        held = self.graph.tensors[tensor]
        self.model.buffers[held.buffer].data = np.frombuffer(integers.tobytes(), np.uint8)
        self._set_grid(held, scale, np.zeros(len(scale)))

    def _set_grid(self, tensor: Any, scale: np.ndarray, zero: np.ndarray) -> None:
        tensor.type = self.schema.TensorType.INT8
        tensor.quantization = self.schema.QuantizationParametersT()
        tensor.quantization.scale = np.atleast_1d(scale).astype(np.float32)
        tensor.quantization.zeroPoint = np.atleast_1d(zero).astype(np.int64)
        tensor.quantization.quantizedDimension = 0

    def operator(self, kind: str, source: int, target: int) -> Any:
        """An operator from one tensor to another, QUANTIZE or DEQUANTIZE, to be put among ``graph.operators``."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code(kind)
        made.inputs, made.outputs = [source], [target]
        return made

    def _code(self, kind: str) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if self._names[code.builtinCode] == kind:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, kind)
        code.version = VERSIONS[kind]
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def metadata(self) -> dict[str, bytes]:
        return {entry.name.decode(): bytes(self.model.buffers[entry.buffer].data) for entry in self.model.metadata}

    def set_metadata(self, name: str, content: bytes) -> None:
        """Add an entry, or give one of the same name another content."""
        for entry in self.model.metadata:
            if entry.name == name.encode():
                self.model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)
                return
        buffer, entry = self.schema.BufferT(), self.schema.MetadataT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.model.buffers.append(buffer)
        entry.name, entry.buffer = name.encode(), len(self.model.buffers) - 1
        self.model.metadata.append(entry)
