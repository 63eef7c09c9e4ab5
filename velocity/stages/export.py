"""Stage ``export@TARGET``: the trained model as an artefact that runs without PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from velocity.export.targets import export_target
from velocity.export.trained import project_model
from velocity.stages import run


def main() -> None:
    target = sys.argv[1]
    print(f"export: tracing the model for {target}, which takes a while", file=sys.stderr, flush=True)
    export_target(target, project_model(), Path("models/export", target))


if __name__ == "__main__":
    run(main)
