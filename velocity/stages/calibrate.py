"""Stage ``calibrate``: the activation ranges of the INT8 model, and what each way to choose them would cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from velocity.config.calibration import Calibration
from velocity.config.reader import load_section
from velocity.errors import VelocityError
from velocity.project import CALIBRATION, FINETUNED, TOKENIZER, TRAIN, VALIDATION
from velocity.stages import run
from velocity.stages.inputs import training_shards

if TYPE_CHECKING:
    from lhotse import MonoCut

CANDIDATES = 20_000  # utterances from the start of the training set, which is shuffled
COMPARED_ON = 100  # utterances of validation


def main() -> None:
    import torch

    from velocity.audio import compute_mel_spectrogram
    from velocity.data.manifests import read_cuts
    from velocity.data.shards import load_cut
    from velocity.evaluation.wer import score
    from velocity.files import write_json
    from velocity.progress import Progress
    from velocity.quantization.calibration import (
        choose_ranges,
        compare,
        describe_layers,
        load_quantizable,
        observe,
        set_ranges,
        trained_ranges,
    )
    from velocity.quantization.representative import representative, speaker_of
    from velocity.text import TextTokenizer
    from velocity.training.devices import set_determinism

    settings = load_section("calibrate", Calibration)
    set_determinism(load_section("threads", int))
    model, trained = load_quantizable(FINETUNED)
    if settings.ranges == "trained" and not trained:
        raise VelocityError(
            "calibrate.ranges: 'trained' needs finetune.qat: true; use minmax, percentile or entropy for a model "
            "trained without"
        )
    tokenizer, shards = TextTokenizer(TOKENIZER), training_shards()
    drawn = representative(islice(read_cuts(TRAIN), CANDIDATES), settings.utterances)
    compared_on = representative(read_cuts(VALIDATION), COMPARED_ON)

    def features(cuts: list[MonoCut]) -> Iterator[torch.Tensor]:  # (1, frames, 80) each
        return (torch.from_numpy(compute_mel_spectrogram(load_cut(cut, shards)).copy()).unsqueeze(0) for cut in cuts)

    def wer(tokens: list[list[int]]) -> float:
        references = [cut.supervisions[0].text for cut in compared_on]
        return round(score(references, [" ".join(tokenizer.decode(path).split()) for path in tokens]).wer, 6)

    methods = {"trained": trained_ranges(model)} if trained else {}
    with Progress("calibrate", len(drawn) + len(compared_on)) as progress:
        seen = observe(model, features(drawn), progress.advance)
        methods |= choose_ranges(seen, settings.percentile)
        exact, agreements = compare(model, methods, features(compared_on), progress.advance)

    set_ranges(model, methods[settings.ranges])
    result = {
        "ranges": settings.ranges,
        "utterances": len(drawn),
        "speakers": len({speaker_of(cut) for cut in drawn}),
        "layers": describe_layers(model, seen),
        "compared_on": len(compared_on),
        "float_wer": wer(exact),
        "compared": {method: {**found.figures(), "wer": wer(found.tokens)} for method, found in agreements.items()},
    }
    write_json(CALIBRATION, result)


if __name__ == "__main__":
    run(main)
