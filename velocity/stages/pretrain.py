"""Stage ``pretrain``: supervision or self-supervision on all audio for training, and a probe of what it is worth."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice

from velocity.config.model import ModelConfig
from velocity.config.pretraining import Pretraining
from velocity.config.reader import load_section
from velocity.journal import Journal, open_journal
from velocity.project import FEATURES, PRETRAIN, PRETRAINED, REPORTS, TOKENIZER, TRAIN, VALIDATION
from velocity.stages import run
from velocity.stages.inputs import fresh_model, training_shards
from velocity.stages.outputs import write_curve


def main() -> None:
    import copy

    import torch

    from velocity.data.batches import Loader
    from velocity.data.manifests import load_cuts, read_cuts
    from velocity.files import write_json
    from velocity.model.asr import save_model
    from velocity.text import TextTokenizer
    from velocity.training.checkpoint import checkpoints_of
    from velocity.training.devices import set_determinism, start
    from velocity.training.loop import fit
    from velocity.training.objectives.pretraining import pretraining_task
    from velocity.training.probe import probe, verdict

    seed, threads = load_section("seed", int), load_section("threads", int)
    config, settings = load_section("model", ModelConfig), load_section("pretrain", Pretraining)
    schedule, seconds = settings.optimisation, settings.optimisation.batch_seconds

    tokenizer, shards, validation = TextTokenizer(TOKENIZER), training_shards(), load_cuts(VALIDATION)
    set_determinism(threads)
    fabric = start(schedule)  # of several processes, which must not fail for want of an input
    torch.manual_seed(seed)
    model = fresh_model(config)
    untrained = copy.deepcopy(model)
    task = pretraining_task(model, settings, PRETRAIN, tokenizer, seed, threads, shards)
    checkpoints = checkpoints_of("pretrain", [str((seed, config, settings)), PRETRAIN, FEATURES, TOKENIZER], schedule)
    journal = open_journal() if fabric.is_global_zero else Journal(None)
    journal.params({"seed": seed, "model": asdict(config), "pretrain": asdict(settings)})
    history = fit(
        fabric,
        task.objective,
        lambda position: task.loader.training(PRETRAIN, seconds, position, fabric.global_rank, fabric.world_size),
        schedule,
        seed,
        checkpoints,
        "pretrain",
        validate=lambda: task.validate(validation),
        log=journal.log,
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
    if count := settings.probe.utterances:
        with_text = Loader(tokenizer, seed, threads=threads, shards=shards)
        labelled = islice(read_cuts(TRAIN), count)  # the manifest is shuffled
        held_out = list(validation)[:: -(-len(validation) // count)]  # evenly spaced: it may be sorted by speaker
        batches = [list(with_text.plain(cuts, seconds)) for cuts in (labelled, held_out)]
        metrics["probe"] = probe(model, untrained.to(fabric.device), *batches, settings.probe, seed)
        print(verdict(metrics["probe"]), flush=True)
    write_curve(REPORTS / "pretrain.csv", history["training"])
    write_curve(REPORTS / "pretrain-validation.csv", history["validation"])
    write_json(REPORTS / "pretrain.json", metrics)
    save_model(model, PRETRAINED)
    journal.metrics(metrics)
    checkpoints.clear()


if __name__ == "__main__":
    run(main)
