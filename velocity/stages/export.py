"""Stage ``export@TARGET``: the trained model as an artefact that runs without PyTorch."""

from __future__ import annotations

import sys

from velocity.artefacts.target import export_target, targets
from velocity.artefacts.trained import project_model
from velocity.project import EXPORTED
from velocity.stages import run


def main() -> None:
    name = sys.argv[1]
    made_from = targets()[name].made_from if name in targets() else None
    if not made_from:
        print("export: tracing the model, which takes up to a minute", file=sys.stderr, flush=True)
    export_target(name, project_model(), EXPORTED / name, EXPORTED / made_from if made_from else None)


if __name__ == "__main__":
    run(main)
