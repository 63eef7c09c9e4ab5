"""Stage ``calibrate``: the activation ranges of the INT8 model, and how far it is from its floating point."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from velocity.config import load_params
from velocity.errors import VelocityError
from velocity.stages import run
from velocity.stages.inputs import training_shards

FINETUNED = Path("models/finetuned.safetensors")
OUTPUT = Path("models/calibration.json")
DRAWN_FROM = 20_000  # utterances: the training set is shuffled, its first are like the rest


def main() -> None:
    import torch

    from velocity.audio import compute_mel_spectrogram
    from velocity.data.cuts import read_cuts
    from velocity.data.shards import load_cut
    from velocity.files import write_json
    from velocity.progress import Progress
    from velocity.quantization.calibration import agreement, choose_ranges, load_quantizable, observe, representative
    from velocity.quantization.linear import quantized_layers
    from velocity.training.loop import set_determinism

    params = load_params()
    settings = params.calibrate
    set_determinism(params.threads)
    model, trained = load_quantizable(FINETUNED)
    if settings.ranges == "trained" and not trained:
        raise VelocityError("calibrate.ranges: 'trained' needs finetune.qat: true; use minmax or percentile")
    cuts = representative(islice(read_cuts("data/prepared/train.jsonl"), DRAWN_FROM), settings.utterances)
    shards = training_shards(params.prepare.shards.cache_gb)
    features = [torch.from_numpy(compute_mel_spectrogram(load_cut(cut, shards)).copy()).unsqueeze(0) for cut in cuts]
    with Progress("calibrate", len(features)) as progress:
        seen = observe(model, features, params.seed, progress.advance)
    ranges = choose_ranges(model, seen, settings.ranges, settings.percentile)

    layers = {}
    for name, layer in quantized_layers(model).items():
        layer.range.copy_(torch.tensor(ranges[name]))
        low, high = layer.range.tolist()
        scale, zero = layer.activation_grid()
        layers[name] = {
            "low": low,
            "high": high,
            "scale": scale.item(),
            "zero_point": zero.item(),
            "seen": [seen[name]["low"], seen[name]["high"]],
            "outside_percent": round(seen[name]["outside"], 4),
        }
    result = {
        "ranges": settings.ranges,
        "utterances": len(cuts),
        "layers": layers,
        "int8_against_float": agreement(model, features[:: max(1, len(features) // 50)]),
    }
    write_json(OUTPUT, result)


if __name__ == "__main__":
    run(main)
