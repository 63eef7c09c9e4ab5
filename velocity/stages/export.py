"""Stage ``export@TARGET``: the trained model as an artefact that runs without PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from velocity.artefacts.targets import TARGETS, export_target
from velocity.artefacts.trained import project_model
from velocity.stages import run

FOLDER = Path("models/export")


def main() -> None:
    target = sys.argv[1]
    made_from = TARGETS[target].made_from if target in TARGETS else None
    if not made_from:
        print("export: tracing the model, which takes up to a minute", file=sys.stderr, flush=True)
    export_target(target, project_model(), FOLDER / target, FOLDER / made_from if made_from else None)


if __name__ == "__main__":
    run(main)
