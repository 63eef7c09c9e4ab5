"""The mean of several trainings."""

import torch

from tests.model.test_asr import small
from velocity.adaptation.average import average_over


def test_the_mean_of_models_is_that_of_their_weights():
    models = [small() for _ in range(3)]
    with torch.no_grad():
        for number, model in enumerate(models):
            for parameter in model.parameters():
                parameter.fill_(3.0**number)
    average_over(models[0], models[1:])
    for parameter in models[0].parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 13 / 3))
    assert all((parameter == 9.0).all() for parameter in models[2].parameters())
