"""What pretraining does, by the objective's name in params.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lhotse import CutSet
from torch import nn

from velocity.config.pretraining import Pretraining
from velocity.data.batches import Loader
from velocity.data.manifests import read_lines
from velocity.data.shards import Shards
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel
from velocity.text import TextTokenizer
from velocity.training.objectives.best_rq import BestRQ
from velocity.training.objectives.ctc import CTC
from velocity.training.objectives.masking import MaskedPrediction
from velocity.training.objectives.spectrogram import MaskedSpectrogram
from velocity.training.phones import PhoneTargets, lexicon_of
from velocity.training.scoring import validation_scores

MASKED: dict[str, type[MaskedPrediction]] = {"spectrogram": MaskedSpectrogram, "best-rq": BestRQ}


class Task(NamedTuple):
    objective: nn.Module
    loader: Loader  # of the batches to train on
    validate: Callable[[CutSet], dict[str, float]]


def pretraining_task(
    model: VelocityModel,
    settings: Pretraining,
    manifest: Path,
    tokenizer: TextTokenizer,
    seed: int,
    threads: int,
    shards: Shards | None,
) -> Task:
    """``settings.objective`` on the cuts of ``manifest``.

    ``seed`` draws what is hidden, the quantiser of BEST-RQ, and distortions. Raises VelocityError when there are no
    transcripts to supervise with.
    """
    schedule = settings.optimisation
    if settings.objective != "supervised":
        hidden = MASKED[settings.objective](model, settings, seed)
        loader = Loader(None, seed, threads=threads, shards=shards, processes=schedule.loaders)
        return Task(hidden, loader, lambda cuts: hidden.validation(loader.plain(cuts, schedule.batch_seconds)))

    if not any(cut["supervisions"] for cut in read_lines(manifest)):
        raise VelocityError("pretrain.objective: supervised needs transcripts, but no corpus has any for training")
    chosen = settings.supervised
    phones = PhoneTargets(tokenizer, lexicon_of(manifest)) if model.config.phones else None
    objective = CTC(model, chosen.early, chosen.augmentation, chosen.phones, phones)
    distortion = chosen.augmentation, threads, shards, schedule.loaders, chosen.augmentation_ramp
    loader = Loader(tokenizer, seed, *distortion)
    return Task(
        objective,
        loader,
        lambda cuts: validation_scores(objective, loader.plain(cuts, schedule.batch_seconds), tokenizer),
    )
