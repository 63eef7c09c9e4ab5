"""Stage ``calibrate``: the activation ranges of the INT8 model, and what each way to choose them would have cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.config import load_params
from velocity.errors import VelocityError
from velocity.stages import run
from velocity.stages.inputs import training_shards

if TYPE_CHECKING:
    from lhotse import MonoCut

FINETUNED = Path("models/finetuned.safetensors")
OUTPUT = Path("models/calibration.json")
DRAWN_FROM = 20_000  # utterances: the training set is shuffled, its first are like the rest
COMPARED_ON = 100  # utterances of validation


def main() -> None:
    import torch

    from velocity.audio import compute_mel_spectrogram
    from velocity.data.cuts import read_cuts
    from velocity.data.shards import load_cut
    from velocity.evaluation.wer import score
    from velocity.files import write_json
    from velocity.progress import Progress
    from velocity.quantization.calibration import (
        choose_ranges,
        compare,
        load_quantizable,
        observe,
        set_ranges,
        trained_ranges,
    )
    from velocity.quantization.linear import quantized_layers
    from velocity.quantization.representative import representative, speaker_of
    from velocity.text import TextTokenizer
    from velocity.training.devices import set_determinism

    params = load_params()
    settings = params.calibrate
    set_determinism(params.threads)
    model, trained = load_quantizable(FINETUNED)
    if settings.ranges == "trained" and not trained:
        raise VelocityError(
            "calibrate.ranges: 'trained' needs finetune.qat: true; use minmax, percentile or entropy for a model "
            "trained without"
        )
    tokenizer = TextTokenizer("data/prepared/tokenizer.model")
    shards = training_shards(params.prepare.shards.cache_gb)
    drawn = representative(islice(read_cuts("data/prepared/train.jsonl"), DRAWN_FROM), settings.utterances)
    judged = representative(read_cuts("data/prepared/validation.jsonl"), COMPARED_ON)

    def features(cuts: list[MonoCut]) -> Iterator[torch.Tensor]:  # (1, frames, 80) each
        return (torch.from_numpy(compute_mel_spectrogram(load_cut(cut, shards)).copy()).unsqueeze(0) for cut in cuts)

    def wer(tokens: list[list[int]]) -> float:
        spoken = [cut.supervisions[0].text for cut in judged]
        return round(score(spoken, [" ".join(tokenizer.decode(path).split()) for path in tokens]).wer, 6)

    methods = {"trained": trained_ranges(model)} if trained else {}
    with Progress("calibrate", len(drawn) + len(judged)) as progress:
        seen = observe(model, features(drawn), progress.advance)
        methods |= choose_ranges(seen, settings.percentile)
        exactly, found = compare(model, methods, features(judged), progress.advance)

    chosen = methods[settings.ranges]
    set_ranges(model, chosen)
    layers = {}
    for name, layer in quantized_layers(model).items():
        low, high = layer.activation_range()
        scale, zero = layer.activation_grid()
        layers[name] = {
            "low": low,
            "high": high,
            "scale": scale.item(),
            "zero_point": zero.item(),
            "seen": [seen[name].low, seen[name].high],
            "outside_percent": round(100 * seen[name].outside(low, high), 4),
        }
    result = {
        "ranges": settings.ranges,
        "utterances": len(drawn),
        "speakers": len({speaker_of(cut) for cut in drawn}),
        "layers": layers,
        "compared_on": len(judged),
        "float_wer": wer(exactly),
        "compared": {method: {**told.figures(), "wer": wer(told.tokens)} for method, told in found.items()},
    }
    write_json(OUTPUT, result)


if __name__ == "__main__":
    run(main)
