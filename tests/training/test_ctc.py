"""The objective of fine-tuning: which batches are masked, and what the loss behind the middle block adds."""

from dataclasses import replace

import pytest
import torch

from tests.model.test_asr import small
from velocity.config.augmentation import Augmentation
from velocity.config.reader import default_section
from velocity.data.batches import Batch
from velocity.training.objectives.ctc import CTC


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    targets = torch.randint(1, 20, (2, 8))
    return Batch(["a", "b"], torch.randn(2, 120, 80), torch.tensor([120, 90]), targets, torch.tensor([8, 5]))


def loss(objective: CTC, batch: Batch) -> float:
    torch.manual_seed(1)
    with torch.no_grad():
        return objective(batch).item()


def test_only_augmented_batches_are_masked_and_only_in_training(batch):
    settings = default_section("finetune.augmentation", Augmentation, time_masks=4, frequency_masks=4)
    masked = CTC(small(dropout=0.0), augmentation=settings)
    assert loss(masked, batch) == loss(CTC(masked.model), batch)
    assert loss(masked, replace(batch, augmented=True)) != loss(masked, batch)
    masked.eval()
    assert loss(masked, replace(batch, augmented=True)) == loss(masked, batch)


def test_the_early_loss_has_its_weight_in_training_alone(batch):
    both = CTC(small(dropout=0.0), early=0.3)
    last, first = (replace_weight(both, weight) for weight in (0.0, 1.0))
    assert loss(both, batch) == pytest.approx(0.7 * last(batch) + 0.3 * first(batch), rel=1e-5)
    both.eval()
    assert loss(both, batch) == pytest.approx(last(batch), rel=1e-5)


def replace_weight(objective: CTC, weight: float):
    def measured(batch: Batch) -> float:
        own, objective.early = objective.early, weight
        mode = objective.training
        try:
            return loss(objective.train(), batch)
        finally:
            objective.early = own
            objective.train(mode)

    return measured
