"""The objectives of pretraining by their names in params.yaml."""

from __future__ import annotations

from velocity.config.pretraining import Pretraining
from velocity.model.asr import VelocityModel
from velocity.training.objectives.best_rq import BestRQ
from velocity.training.objectives.masking import MaskedPrediction
from velocity.training.objectives.spectrogram import MaskedSpectrogram

OBJECTIVES: dict[str, type[MaskedPrediction]] = {"spectrogram": MaskedSpectrogram, "best-rq": BestRQ}


def pretraining_objective(model: VelocityModel, settings: Pretraining, seed: int) -> MaskedPrediction:
    """``settings.objective``; ``seed`` draws what is hidden, and the quantiser of BEST-RQ."""
    return OBJECTIVES[settings.objective](model, settings, seed)
