"""What 4 or 2 bits a weight cost a trained model, and what quantisation-aware training from its weights on wins back.

    python benchmarks/low_bits.py --bits 2 --steps 200 --out low        # in the folder of a project

The weights of ``models/finetuned.safetensors`` go on learning, rounded to that many bits, on the project's training set
with its settings. ``--out`` gets the weights, the artefacts before and after, and ``low_bits.json``: the error rates on
each test set of the model as it was, of its weights rounded to nearest, and of the trained ones, with 95 % intervals,
and the validations on the way. Stopped and started again, it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from velocity.project import FINETUNED, TOKENIZER, TRAIN, VALIDATION, test_manifests
from velocity.stages import keep_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, choices=[4, 2], required=True)
    parser.add_argument("--steps", type=int, default=200, help="0: rounding to nearest alone")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch-seconds", type=float, default=40.0)
    parser.add_argument("--validate-every", type=int, default=25)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="32-true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    keep_memory()
    from velocity.artefacts.target import export_target
    from velocity.artefacts.trained import project_model
    from velocity.files import write_json

    project = project_model()
    target = f"onnx-int{options.bits}"
    artefacts = {"float": options.out / "onnx", "rounded": options.out / "rounded"}
    export_target("onnx", project, artefacts["float"])
    export_target(target, project, artefacts["rounded"])
    trained: dict[str, Any] = {}
    if options.steps:
        weights = options.out / "trained.safetensors"
        trained = train(options, weights)
        artefacts["trained"] = options.out / "trained"
        export_target(target, replace(project, weights=weights), artefacts["trained"])
    result = {
        "bits": options.bits,
        "bytes": {name: (folder / "model.onnx").stat().st_size for name, folder in artefacts.items()},
        "test_sets": {name: rates(folder) for name, folder in artefacts.items()},
        "training": trained,
    }
    write_json(options.out / "low_bits.json", result)
    print(json.dumps(result, indent=2))


def train(options: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """Write the weights to ``weights``; returns settings and history."""
    import torch

    from velocity.config import load_params
    from velocity.data.batches import Loader
    from velocity.data.manifests import load_cuts
    from velocity.model.asr import load_model, save_model
    from velocity.quantization.linear import set_mode
    from velocity.quantization.low_bits import keep_rounded, learn_low_bits
    from velocity.text import TextTokenizer
    from velocity.training.checkpoint import Checkpoints, fingerprint
    from velocity.training.devices import set_determinism, start
    from velocity.training.loop import fit
    from velocity.training.objectives.ctc import CTC
    from velocity.training.scoring import validation_scores

    params = load_params()
    settings = replace(
        params.finetune.optimisation,
        steps=options.steps,
        batch_seconds=options.batch_seconds,
        learning_rate=options.learning_rate,
        precision=options.precision,
        ema=0.0,
        patience=0,
        loaders=0,
        checkpoint_every=options.validate_every,
        validate_every=options.validate_every,
    )
    set_determinism(params.threads)
    fabric = start(settings)
    torch.manual_seed(params.seed)
    objective = CTC(learn_low_bits(load_model(FINETUNED), options.bits))
    set_mode(objective, "fake")
    tokenizer = TextTokenizer(TOKENIZER)
    loader = Loader(tokenizer, params.seed, params.finetune.augmentation, params.threads)
    validation = load_cuts(VALIDATION)
    seconds = settings.batch_seconds

    mark = fingerprint([str((asdict(settings), params.finetune.augmentation)), FINETUNED])

    def validate() -> dict[str, float]:
        return validation_scores(objective, loader.plain(validation, seconds), tokenizer)

    before = validate() | {"step": 0}
    history = fit(
        fabric,
        objective,
        lambda position: loader.training(TRAIN, seconds, position, 0, 1),
        settings,
        params.seed,
        Checkpoints(f"low-bits-{options.bits}", lambda step: mark),
        "low bits",
        validate=validate,
    )
    keep_rounded(objective)
    save_model(objective.model, weights)
    return {
        "optimisation": asdict(settings),
        "audio_hours": round(history["audio_seconds"] / 3600, 3),
        "validation": [before, *history["validation"]],
    }


def rates(folder: Path) -> dict[str, Any]:
    """Test set → error rates of the artefact in ``folder``."""
    from velocity.evaluation.hypotheses import recognise
    from velocity.evaluation.testset import load_test_set
    from velocity.evaluation.wer import measure_test_set
    from velocity.recognition.offline import VelocityASR

    model, found = VelocityASR(folder), {}
    for path in test_manifests():
        name, utterances = load_test_set(str(path))
        hypotheses = recognise(model, utterances, f"{name}, {folder.name}", workers=2).hypotheses
        found[name] = measure_test_set(utterances, hypotheses, 1000, 1)
    return found


if __name__ == "__main__":
    main()
