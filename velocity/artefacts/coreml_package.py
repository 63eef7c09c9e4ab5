"""A Core ML package as a file format: a folder with the specification, the weights and a list of the two."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from velocity.errors import VelocityError

MODEL, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"


def import_coremltools() -> ModuleType:
    """coremltools without the frameworks it would also convert from: importing those takes half a minute."""
    unwanted = [name for name in ("tensorflow", "sklearn", "xgboost") if name not in sys.modules]
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # versions it was not tested with, what macOS alone has
    sys.modules |= dict.fromkeys(unwanted)
    try:
        import coremltools
    except ImportError as error:
        raise VelocityError("Core ML needs coremltools: pip install 'velocity-asr[mobile]'") from error
    finally:
        for name in unwanted:
            del sys.modules[name]
    return coremltools


@dataclass
class Package:
    """A Core ML package: the specification (``Model.proto`` of coremltools) and the file of its weights."""

    spec: Any
    weights: bytes

    @classmethod
    def read(cls, path: str | Path) -> Package:
        """Raises VelocityError when ``path`` is no such package."""
        import_coremltools()
        from coremltools.proto import Model_pb2
        from google.protobuf.message import DecodeError

        spec = Model_pb2.Model()
        try:
            spec.ParseFromString((Path(path) / MODEL).read_bytes())
            return cls(spec, (Path(path) / WEIGHTS).read_bytes())
        except (OSError, DecodeError) as error:
            raise VelocityError(f"{path}: not a Core ML package; export it again") from error

    @property
    def block(self) -> Any:
        """The operations of the program."""
        function = self.spec.mlProgram.functions["main"]
        return function.block_specializations[function.opset]

    def describe(self, about: Mapping[str, str], features: Mapping[str, str], more: Mapping[str, str]) -> None:
        """What Xcode shows: ``about`` the model (``shortDescription``, ``author``, ``license``), of each input and
        output by its name, and ``more`` by keys of our own. No date: the same model has the same bytes."""
        metadata = self.spec.description.metadata
        for key, value in about.items():
            setattr(metadata, key, value)
        for key in [key for key in metadata.userDefined if key.endswith("date")]:
            del metadata.userDefined[key]
        metadata.userDefined.update(more)
        for feature in (*self.spec.description.input, *self.spec.description.output):
            feature.shortDescription = features[feature.name]

    def write(self, path: Path) -> None:
        """The same bytes for the same program; coremltools itself names its parts by chance."""
        contents = {MODEL: self.spec.SerializeToString(deterministic=True), WEIGHTS: self.weights}
        for name, content in contents.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        parts = {"model.mlmodel": "Specification", "weights": "Weights"}
        identifiers = {name: str(uuid.uuid5(uuid.NAMESPACE_URL, f"com.apple.CoreML/{name}")) for name in parts}
        manifest = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": {
                identifiers[name]: {
                    "author": "com.apple.CoreML",
                    "description": f"CoreML Model {what}",
                    "name": name,
                    "path": f"com.apple.CoreML/{name}",
                }
                for name, what in parts.items()
            },
            "rootModelIdentifier": identifiers["model.mlmodel"],
        }
        (path / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
