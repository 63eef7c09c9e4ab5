"""What a Core ML package computes, on any machine: its program read from the saved files and interpreted with PyTorch.

Core ML itself runs on Apple's systems alone. This shows what the program says, not what Apple's runtime makes of it:
an operation is computed in 32 bits and its result rounded to the type that the program declares for it, as by hardware
that multiplies 16-bit numbers and adds up in 32. The format is that of coremltools, ``MIL.proto``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from velocity.artefacts.coreml_operations import OPERATIONS
from velocity.artefacts.coreml_package import Package
from velocity.artefacts.coreml_weights import read_blob
from velocity.errors import VelocityError

BOOL, STRING, FLOAT16 = 1, 2, 10  # of MIL's data types
DTYPES = {BOOL: "bool", FLOAT16: "float16", 11: "float32", 21: "int8", 23: "int32", 31: "uint8"}  # → NumPy's
PACKED = {FLOAT16, 21, 31}  # types whose values stand in the program as bytes


@dataclass(frozen=True)
class Step:
    """One operation of the program; arguments and results by the names of values, and the results' types."""

    operate: Callable[..., Any]
    arguments: dict[str, str | list[str]]
    results: Sequence[tuple[str, torch.dtype]]

    @property
    def uses(self) -> list[str]:
        return [name for names in self.arguments.values() for name in (names if isinstance(names, list) else [names])]


class MilProgram:
    """``MilProgram(package)(mel)``: log-mel (1, frames, 80) float32 → log-posteriors (1, frames', V) float32."""

    def __init__(self, package: str | Path, rounded: bool = True) -> None:
        """``rounded=False`` keeps 32 bits throughout: the error that is left is of the weights alone.

        Raises VelocityError when ``package`` is no Core ML package, or does what is not known here.
        """
        self.package, self.rounded = Path(package), rounded
        contents = Package.read(package)
        self._weights = contents.weights
        function = contents.spec.mlProgram.functions["main"]
        self.inputs = {each.name: self._dtype(each.type) for each in function.inputs}
        self.outputs = list(contents.block.outputs)
        self.constants: dict[str, Any] = {}
        self.steps: list[Step] = []
        for operation in contents.block.operations:
            self._add(operation)

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        return self.run(mel_spectrogram=mel)["log_probs"]

    @torch.inference_mode()
    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Every output by name."""
        values = {name: torch.from_numpy(np.asarray(inputs[name])).to(dtype) for name, dtype in self.inputs.items()}
        left = Counter(name for step in self.steps for name in step.uses) + Counter(self.outputs)

        def take(name: str) -> Any:
            if name in self.constants:
                return self.constants[name]
            left[name] -= 1  # what nothing asks for any more is let go: a minute of frames fills gigabytes otherwise
            return _wide(values[name] if left[name] else values.pop(name))

        for step in self.steps:
            given = {
                key: [take(each) for each in name] if isinstance(name, list) else take(name)
                for key, name in step.arguments.items()
            }
            found = step.operate(**given)
            found = found if isinstance(found, tuple | list) else [found]
            values |= {name: tensor.to(dtype) for (name, dtype), tensor in zip(step.results, found, strict=True)}
        return {name: take(name).numpy() for name in self.outputs}

    def _add(self, operation: Any) -> None:
        """An operation of the file as a constant, or as a step."""
        attributes = {key: self._value(value) for key, value in operation.attributes.items() if key != "name"}
        if operation.type == "const":
            self.constants[operation.outputs[0].name] = attributes["val"]
            return
        if operation.type not in OPERATIONS:
            raise VelocityError(f"{self.package}: the operation {operation.type} is not known to the interpreter")
        results = [(each.name, self._dtype(each.type)) for each in operation.outputs]
        if attributes:  # of the weights: computed from attributes alone
            self.constants[results[0][0]] = _wide(OPERATIONS[operation.type](**attributes).to(results[0][1]))
            return
        arguments: dict[str, str | list[str]] = {}
        for key, argument in operation.inputs.items():
            names = [self._name(binding) for binding in argument.arguments]
            arguments[key] = names if key == "values" else names[0]  # of concat: the one list that there is
        self.steps.append(Step(OPERATIONS[operation.type], arguments, results))

    def _name(self, binding: Any) -> str:
        """Of the argument; one that is written out in its place becomes a constant."""
        if binding.WhichOneof("binding") == "name":
            return binding.name
        name = f"value {len(self.constants)}"
        self.constants[name] = self._value(binding.value)
        return name

    def _dtype(self, declared: Any) -> torch.dtype:
        kind = declared.tensorType.dataType
        if kind not in DTYPES:
            raise VelocityError(f"{self.package}: values of MIL's type {kind} are not known to the interpreter")
        dtype = getattr(torch, DTYPES[kind])
        return torch.float32 if dtype == torch.float16 and not self.rounded else dtype

    def _value(self, value: Any) -> Tensor | str:
        """A constant of the file, half precision widened."""
        declared = value.type.tensorType
        shape = [dimension.constant.size for dimension in declared.dimensions]
        if declared.dataType == STRING:
            return value.immediateValue.tensor.strings.values[0]
        self._dtype(value.type)
        dtype = np.dtype(DTYPES[declared.dataType])
        if value.WhichOneof("value") == "blobFileValue":
            array = np.frombuffer(read_blob(self._weights, value.blobFileValue.offset).values, dtype)
        else:
            kind = value.immediateValue.tensor.WhichOneof("value")
            values = getattr(value.immediateValue.tensor, kind).values
            array = np.frombuffer(values, dtype) if declared.dataType in PACKED else np.array(values, dtype)
        return _wide(torch.from_numpy(array.reshape(shape).copy()))


def _wide(tensor: Any) -> Any:
    return tensor.float() if isinstance(tensor, Tensor) and tensor.dtype == torch.float16 else tensor
