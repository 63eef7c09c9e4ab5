"""Stage ``export@TARGET``: the trained model as an artefact that runs without PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from velocity.export.targets import export_target
from velocity.export.trained import project_model
from velocity.stages import run

FOLDER = Path("models/export")


def main() -> None:
    target = sys.argv[1]
    float_target = target.removesuffix("-int8")
    traced = FOLDER / float_target / "model.onnx" if target != float_target else None
    if not traced:
        print("export: tracing the model, which takes up to a minute", file=sys.stderr, flush=True)
    export_target(target, project_model(), FOLDER / target, traced)


if __name__ == "__main__":
    run(main)
