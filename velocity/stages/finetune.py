"""Stage ``finetune``: CTC on labelled speech, quantisation-aware from a point of the training on."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from velocity.config import load_params
from velocity.stages import run
from velocity.stages.inputs import feature_statistics, fresh_model, training_shards
from velocity.stages.outputs import write_curve
from velocity.tracking import Run, track_run

PRETRAINED = Path("models/pretrained.safetensors")
OUTPUT = Path("models/finetuned.safetensors")


def main() -> None:
    import torch

    from velocity.data.batches import Loader
    from velocity.data.cuts import load_cuts
    from velocity.files import write_json
    from velocity.model.asr import load_encoder, save_model
    from velocity.quantization.linear import quantize_linears, set_mode
    from velocity.quantization.low_bits import keep_rounded, learn_low_bits
    from velocity.text import TextTokenizer
    from velocity.training.checkpoint import Checkpoints, fingerprint
    from velocity.training.devices import set_determinism, start
    from velocity.training.distillation import Distilled
    from velocity.training.loop import fit
    from velocity.training.objectives import CTC
    from velocity.training.scoring import validation_scores

    params = load_params()
    settings = params.finetune
    set_determinism(params.threads)
    fabric = start(settings.optimisation)
    torch.manual_seed(params.seed)
    model = fresh_model(params.model)
    if settings.use_pretrained:
        load_encoder(model, PRETRAINED)
    parameters = model.parameter_count()  # of the recogniser: what learns its ranges is not in it
    if settings.weight_bits < 8:
        learn_low_bits(model, settings.weight_bits)
    elif settings.qat:
        quantize_linears(model, learned=settings.activation_ranges == "learned")
    objective = Distilled(model, settings.distillation) if settings.distillation.weight else CTC(model)
    validation = load_cuts("data/prepared/validation.jsonl")
    tokenizer = TextTokenizer("data/prepared/tokenizer.model")
    shards = training_shards(params.prepare.shards.cache_gb)
    seconds, processes = settings.optimisation.batch_seconds, settings.optimisation.loaders
    fill = feature_statistics()["mean"]
    loader = Loader(tokenizer, fill, params.seed, settings.augmentation, params.threads, shards, processes)
    qat_from = max(1, round(settings.qat_start * settings.optimisation.steps))  # ranges are observed before they serve

    inputs = [Path("data/prepared", name) for name in ("train.jsonl", "features.json", "tokenizer.model")]
    inputs += [PRETRAINED] if settings.use_pretrained else []
    checkpoints = Checkpoints(
        "finetune",
        fingerprint([str((params.seed, params.model, settings)), *inputs]),
        settings.optimisation.keep_checkpoints,
    )
    recorded = {"seed": params.seed, "model": asdict(params.model), "finetune": asdict(settings)}
    place = fabric.global_rank, fabric.world_size
    with track_run("finetune", recorded) if fabric.is_global_zero else nullcontext(Run()) as tracked:
        history = fit(
            fabric,
            objective,
            lambda position: loader.training("data/prepared/train.jsonl", seconds, position, *place),
            settings.optimisation,
            params.seed,
            checkpoints,
            "finetune",
            before_step=lambda step: set_mode(model, "fake" if step >= qat_from else "observe"),
            validate=lambda: validation_scores(objective, loader.plain(validation, seconds), tokenizer),
            log=tracked.log,
            judge_from=qat_from if settings.qat else 0,
        )
        if not fabric.is_global_zero:
            return
        metrics = {
            "steps": history["training"][-1]["step"],
            "audio_hours": round(history["audio_seconds"] / 3600, 4),
            "parameters": parameters,
            "loss": history["training"][-1]["loss"],
            "validation_loss": history["kept"]["loss"],
            "validation_wer": history["kept"]["wer"],
        }
        write_curve("reports/finetune.csv", history["training"])
        write_curve("reports/finetune-validation.csv", history["validation"])
        write_json("reports/finetune.json", metrics)
        keep_rounded(model)
        save_model(model, OUTPUT)
        tracked.metrics(metrics)
        checkpoints.clear()


if __name__ == "__main__":
    run(main)
