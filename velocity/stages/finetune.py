"""Stage ``finetune``: CTC on labelled speech, with quantisation-aware training from ``finetune.qat_start`` on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from velocity.config.finetuning import Finetuning
from velocity.config.model import ModelConfig
from velocity.config.reader import load_section
from velocity.journal import Journal, open_journal
from velocity.project import FEATURES, FINETUNED, PRETRAINED, REPORTS, TOKENIZER, TRAIN, VALIDATION
from velocity.stages import run
from velocity.stages.inputs import fresh_model, training_shards
from velocity.stages.outputs import write_curve


def main() -> None:
    import torch

    from velocity.data.batches import Loader
    from velocity.data.manifests import load_cuts
    from velocity.files import write_json
    from velocity.model.asr import load_pretrained, save_model
    from velocity.phones import CLASSES
    from velocity.quantization.base import average_with, causal, load_base, read_base
    from velocity.quantization.linear import REMEMBERED_STEPS, quantize_linears, set_mode, training_mode
    from velocity.quantization.low_bits import keep_rounded, learn_low_bits
    from velocity.text import TextTokenizer
    from velocity.training.checkpoint import checkpoints_of
    from velocity.training.devices import set_determinism, start
    from velocity.training.loop import fit
    from velocity.training.objectives.ctc import CTC
    from velocity.training.objectives.mmi import Denominator
    from velocity.training.phones import PhoneTargets, labellings_of, lexicon_of
    from velocity.training.scoring import validation_scores

    seed, threads = load_section("seed", int), load_section("threads", int)
    config, settings = load_section("model", ModelConfig), load_section("finetune", Finetuning)
    schedule, seconds = settings.optimisation, settings.optimisation.batch_seconds
    base = read_base(settings.base) if settings.base else None
    if base and config.direction == "causal":
        base = causal(base)
    weights = [Path(settings.base, "model.onnx")] if base else []
    weights += [PRETRAINED] if settings.start_from == "pretrained" else []

    tokenizer, validation = TextTokenizer(TOKENIZER), load_cuts(VALIDATION)
    set_determinism(threads)
    fabric = start(schedule)  # of several processes, which must not fail for want of an input
    torch.manual_seed(seed)
    model = fresh_model(config)
    if settings.start_from == "pretrained":
        load_pretrained(model, PRETRAINED)
    parameters = model.parameter_count()  # of the recogniser, without the learned ranges of quantisation
    if settings.weight_bits < 8:
        learn_low_bits(model, settings.weight_bits)
    elif settings.qat:
        quantize_linears(model, learned=settings.activation_ranges == "learned")
    if base:
        load_base(model, base)
    qat_from = max(1, round(settings.qat_start * schedule.steps))  # ranges are observed before they are used

    phone_targets = denominator = None
    if config.phones:
        lexicon = lexicon_of(TRAIN)
        phone_targets = PhoneTargets(tokenizer, lexicon)
        denominator = Denominator(settings.mmi, labellings_of(TRAIN, lexicon), CLASSES) if settings.mmi else None
    objective = CTC(
        model,
        settings.early,
        settings.augmentation,
        settings.phones,
        phone_targets,
        settings.consistency,
        denominator,
    )
    distortion = settings.augmentation, threads, training_shards(), schedule.loaders, settings.augmentation_ramp
    loader = Loader(tokenizer, seed, *distortion)
    parts = [str((seed, config, settings)), TRAIN, FEATURES, TOKENIZER, *weights]
    observed_from = max(0, qat_from - REMEMBERED_STEPS)  # until then, trainings that quantise later are the same
    checkpoints = checkpoints_of("finetune", parts, schedule, change=observed_from)
    journal = open_journal() if fabric.is_global_zero else Journal(None)
    journal.params({"seed": seed, "model": asdict(config), "finetune": asdict(settings)})
    validate = lambda: validation_scores(objective, loader.plain(validation, seconds), tokenizer)  # noqa: E731
    history = fit(
        fabric,
        objective,
        lambda position: loader.training(TRAIN, seconds, position, fabric.global_rank, fabric.world_size),
        schedule,
        seed,
        checkpoints,
        "finetune",
        before_step=lambda step: set_mode(model, training_mode(step, qat_from)),
        validate=validate,
        log=journal.log,
        judge_from=qat_from if settings.qat else 0,
    )
    if not fabric.is_global_zero:
        return
    kept = history["kept"]
    if base and settings.share < 1:
        average_with(model, base, settings.share)
        objective.eval()
        kept = validate()
    metrics = {
        "steps": history["training"][-1]["step"],
        "audio_hours": round(history["audio_seconds"] / 3600, 4),
        "parameters": parameters,
        "loss": history["training"][-1]["loss"],
        "validation_loss": kept["loss"],
        "validation_wer": kept["wer"],
    }
    write_curve(REPORTS / "finetune.csv", history["training"])
    write_curve(REPORTS / "finetune-validation.csv", history["validation"])
    write_json(REPORTS / "finetune.json", metrics)
    keep_rounded(model)
    save_model(model, FINETUNED)
    journal.metrics(metrics)
    checkpoints.clear()


if __name__ == "__main__":
    run(main)
