"""Stage ``export@TARGET``: the trained model as an artefact that runs without PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

from velocity.config import load_params
from velocity.export.targets import export_target
from velocity.stages import run


def main() -> None:
    target = sys.argv[1]
    corpora = load_params().corpora
    print(f"export: tracing the model for {target}, which takes a while", file=sys.stderr, flush=True)
    export_target(
        target,
        weights=Path("models/finetuned.safetensors"),
        calibration=Path("models/calibration.json"),
        tokenizer=Path("data/prepared/tokenizer.model"),
        folder=Path("models/export", target),
        name="velocity-asr-v2-" + "-".join(sorted(corpora)),
        synthetic=all(corpus.kind == "synthetic" for corpus in corpora.values()),
    )


if __name__ == "__main__":
    run(main)
