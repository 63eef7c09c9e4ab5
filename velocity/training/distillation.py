"""Distillation of the fake-quantised model from its FP32 twin (Hinton et al., "Distilling the knowledge in a neural
network", 2015; for low precision Mishra and Marr, "Apprentice", ICLR 2018).

The twin is the model itself, computed once more in floating point with the weights of the same step and without
dropout. It is what INT8 is to stay close to; it goes on learning with its student, where a copy frozen at the switch to
fake quantisation would hold it to the unfinished model of a still high learning rate; and it adds nothing to keep in
memory or in a checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from velocity.config.training import Distillation
from velocity.data.batches import Batch
from velocity.model.asr import VelocityModel
from velocity.quantization.linear import floating_point, quantized_layers
from velocity.training.objectives import CTC


class Distilled(CTC):
    """CTC, and in training, once ``model`` is fake-quantised, ``weight`` · T² · its divergence from its twin."""

    def __init__(self, model: VelocityModel, settings: Distillation) -> None:
        super().__init__(model)
        self.settings = settings

    def forward(self, batch: Batch) -> Tensor:
        weight, temperature = self.settings.weight, self.settings.temperature
        if not (weight and self.training and is_fake(self.model)):
            return super().forward(batch)
        with floating_point(self.model):
            exact, _ = self.model(batch.features, batch.lengths)
        answers: list[tuple[Tensor, Tensor]] = []  # (log-posteriors, lengths), caught on their way into CTC
        hook = self.model.register_forward_hook(lambda model, inputs, answer: answers.append(answer))
        try:
            loss = super().forward(batch)
        finally:
            hook.remove()
        return loss + weight * temperature**2 * divergence(exact, *answers[0], temperature)


def is_fake(model: nn.Module) -> bool:
    return any(layer.mode == "fake" for layer in quantized_layers(model).values())


def divergence(teacher: Tensor, student: Tensor, lengths: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the frame posteriors at ``temperature``, in nats a frame.

    ``teacher`` and ``student`` are log-posteriors (b, l, V) of utterances of ``lengths`` (b,) frames. The mean over the
    frames of each utterance, then over utterances: they weigh the same, as in CTC, whatever they are padded to.
    """
    target, guess = ((log_probs / temperature).log_softmax(-1) for log_probs in (teacher, student))
    distance = (target.exp() * (target - guess)).sum(-1)  # (b, l)
    valid = torch.arange(distance.size(1), device=distance.device) < lengths.unsqueeze(1)  # (b, l)
    return (distance.masked_fill(~valid, 0.0).sum(1) / lengths).mean()
