"""What a model is trained for: each objective is a module whose ``forward`` gives the loss of a batch."""

from __future__ import annotations

from velocity.config.training import Pretraining
from velocity.model.asr import VelocityModel
from velocity.training.objectives.best_rq import BestRQ
from velocity.training.objectives.ctc import CTC
from velocity.training.objectives.masking import MaskedPrediction
from velocity.training.objectives.spectrogram import MaskedSpectrogram

__all__ = ["CTC", "BestRQ", "MaskedSpectrogram", "pretraining_objective"]


OBJECTIVES: dict[str, type[MaskedPrediction]] = {"spectrogram": MaskedSpectrogram, "best-rq": BestRQ}


def pretraining_objective(model: VelocityModel, settings: Pretraining, seed: int) -> MaskedPrediction:
    """The one that ``settings.objective`` names; ``seed`` draws what is hidden, and the quantiser of BEST-RQ."""
    return OBJECTIVES[settings.objective](model, settings, seed)
