"""Stage ``pretrain``: self-supervision on all audio that may be trained on, and a probe of what it is worth."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from velocity.config import load_params
from velocity.stages import run
from velocity.stages.inputs import feature_statistics, fresh_model, training_shards
from velocity.stages.outputs import write_curve
from velocity.tracking import Run, track_run

TOKENIZER = Path("data/prepared/tokenizer.model")
OUTPUT = Path("models/pretrained.safetensors")


def main() -> None:
    import copy

    import torch

    from velocity.data.batches import Loader
    from velocity.data.cuts import load_cuts, read_cuts
    from velocity.files import write_json
    from velocity.model.asr import save_model
    from velocity.text import TextTokenizer
    from velocity.training.checkpoint import Checkpoints, fingerprint
    from velocity.training.devices import set_determinism, start
    from velocity.training.loop import fit
    from velocity.training.objectives import pretraining_objective
    from velocity.training.probe import probe, verdict

    params = load_params()
    settings = params.pretrain
    set_determinism(params.threads)
    fabric = start(settings.optimisation)
    torch.manual_seed(params.seed)
    model = fresh_model(params.model)
    untrained = copy.deepcopy(model)
    objective = pretraining_objective(model, settings, params.seed)
    validation = load_cuts("data/prepared/validation.jsonl")
    fill, shards = feature_statistics()["mean"], training_shards(params.prepare.shards.cache_gb)
    seconds, processes = settings.optimisation.batch_seconds, settings.optimisation.loaders
    loader = Loader(None, fill, params.seed, threads=params.threads, shards=shards, processes=processes)

    def measure_probe() -> dict[str, Any]:
        with_text = Loader(TextTokenizer(TOKENIZER), fill, params.seed, threads=params.threads, shards=shards)
        few = settings.probe.utterances
        labelled = islice(read_cuts("data/prepared/train.jsonl"), few)  # in an order of no meaning
        held_out = list(validation)[:: -(-len(validation) // few)]  # from all of it, which may lie speaker by speaker
        batches = [list(with_text.plain(cuts, seconds)) for cuts in (labelled, held_out)]
        return probe(model, untrained.to(model.feature_mean.device), *batches, settings.probe, params.seed)

    inputs = [Path("data/prepared", name) for name in ("pretrain.jsonl", "features.json")]
    checkpoints = Checkpoints(
        "pretrain",
        fingerprint([str((params.seed, params.model, settings)), *inputs]),
        settings.optimisation.keep_checkpoints,
    )
    recorded = {"seed": params.seed, "model": asdict(params.model), "pretrain": asdict(settings)}
    place = fabric.global_rank, fabric.world_size
    with track_run("pretrain", recorded) if fabric.is_global_zero else nullcontext(Run()) as tracked:
        history = fit(
            fabric,
            objective,
            lambda position: loader.training("data/prepared/pretrain.jsonl", seconds, position, *place),
            settings.optimisation,
            params.seed,
            checkpoints,
            "pretrain",
            validate=lambda: objective.validation(loader.plain(validation, seconds)),
            log=tracked.log,
        )
        if not fabric.is_global_zero:
            return
        metrics = {
            "steps": history["training"][-1]["step"],
            "audio_hours": round(history["audio_seconds"] / 3600, 4),
            "parameters": model.parameter_count(),
            "loss": history["training"][-1]["loss"],
            **{f"validation_{name}": value for name, value in history["kept"].items() if name != "step"},
        }
        if settings.probe.utterances:
            metrics["probe"] = measure_probe()
            print(verdict(metrics["probe"]), flush=True)
        write_curve("reports/pretrain.csv", history["training"])
        write_curve("reports/pretrain-validation.csv", history["validation"])
        write_json("reports/pretrain.json", metrics)
        save_model(model, OUTPUT)
        tracked.metrics(metrics)
        checkpoints.clear()


if __name__ == "__main__":
    run(main)
