"""Stage ``pretrain``: masked-spectrogram self-supervision on all audio that may be trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from velocity.config import load_params
from velocity.stages import run
from velocity.stages.inputs import feature_statistics, training_shards, vocabulary
from velocity.stages.outputs import write_curve
from velocity.tracking import track_run

OUTPUT = Path("models/pretrained.safetensors")


def main() -> None:
    import torch

    from velocity.data.batches import Loader
    from velocity.data.cuts import load_cuts
    from velocity.files import write_json
    from velocity.model.asr import VelocityModel, save_model
    from velocity.training.checkpoint import Checkpoints, fingerprint
    from velocity.training.loop import fit, set_determinism
    from velocity.training.objectives import MaskedSpectrogram

    params = load_params()
    settings = params.pretrain
    set_determinism(params.threads)
    torch.manual_seed(params.seed)
    statistics = feature_statistics()
    model = VelocityModel(replace(params.model, vocabulary=vocabulary()))
    model.set_feature_statistics(**statistics)
    objective = MaskedSpectrogram(model, settings)
    validation = load_cuts("data/prepared/validation.jsonl")
    shards = training_shards(params.prepare.shards.cache_gb)
    loader = Loader(None, statistics["mean"], params.seed, threads=params.threads, shards=shards)
    seconds = settings.optimisation.batch_seconds

    @torch.no_grad()
    def validate() -> dict[str, float]:
        torch.manual_seed(params.seed)  # the same places are masked each time
        device = model.feature_mean.device
        total = sum(objective(batch.to(device)).item() * len(batch.ids) for batch in loader.plain(validation, seconds))
        return {"loss": total / len(validation)}

    inputs = [Path("data/prepared", name) for name in ("pretrain.jsonl", "features.json")]
    checkpoints = Checkpoints("pretrain", fingerprint([str((params.seed, params.model, settings)), *inputs]))
    recorded = {"seed": params.seed, "model": asdict(params.model), "pretrain": asdict(settings)}
    with track_run("pretrain", recorded) as tracked:
        history = fit(
            objective,
            lambda position: loader.training("data/prepared/pretrain.jsonl", seconds, position),
            settings.optimisation,
            params.seed,
            checkpoints,
            "pretrain",
            validate=validate,
        )
        metrics = {
            "steps": settings.optimisation.steps,
            "audio_hours": round(history["audio_seconds"] / 3600, 4),
            "parameters": model.parameter_count(),
            "loss": history["training"][-1]["loss"],
            "validation_loss": history["validation"][-1]["loss"],
        }
        write_curve("reports/pretrain.csv", history["training"])
        write_curve("reports/pretrain-validation.csv", history["validation"])
        write_json("reports/pretrain.json", metrics)
        save_model(model, OUTPUT)
        tracked.series(history["training"])
        tracked.metrics(metrics)
        checkpoints.clear()


if __name__ == "__main__":
    run(main)
