"""Distillation: the divergence by hand, exactly CTC without it, and gradients into the student alone."""

import math

import pytest
import torch
from torch import nn

from tests.model.test_asr import small
from velocity.config.training import Distillation
from velocity.data.batches import Batch
from velocity.quantization.linear import floating_point, quantize_linears, quantized_layers, set_mode
from velocity.training.distillation import Distilled, divergence
from velocity.training.objectives import CTC


def posteriors(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(2, 4, 3).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_by_hand_over_valid_frames_of_unequal_lengths(temperature):
    teacher, student, lengths = posteriors(0), posteriors(1), [4, 2]
    utterances = []
    for row, length in enumerate(lengths):
        frames = []
        for frame in range(length):
            p = [math.exp(value / temperature) for value in teacher[row, frame].tolist()]
            q = [math.exp(value / temperature) for value in student[row, frame].tolist()]
            p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
            frames.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        utterances.append(sum(frames) / length)
    found = divergence(teacher, student, torch.tensor(lengths), temperature)
    assert found.item() == pytest.approx(sum(utterances) / 2, rel=1e-5)
    padded = student.clone()
    padded[1, 2:] = -7.0
    assert divergence(teacher, padded, torch.tensor(lengths), temperature) == found
    assert divergence(teacher, teacher, torch.tensor(lengths), temperature) == 0


def batch() -> Batch:
    torch.manual_seed(3)
    lengths = torch.tensor([90, 50])
    return Batch(["a", "b"], torch.randn(2, 90, 80), lengths, torch.randint(1, 12, (2, 5)), torch.tensor([5, 3]))


def student(objective: type, *arguments, mode: str = "fake", learned: bool = True) -> nn.Module:
    """A model that has heard a batch, in training, with dropout."""
    made = objective(quantize_linears(small(dropout=0.1), learned), *arguments).train()
    set_mode(made.model, "observe")
    torch.manual_seed(6)
    made(batch())
    set_mode(made.model, mode)
    return made


def loss_and_gradients(objective: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(7)
    objective.zero_grad()
    loss = objective(batch())
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("weight", "mode"), [(0.0, "fake"), (5.0, "observe")])
def test_without_weight_or_before_the_switch_it_is_exactly_ctc(weight, mode):
    plain, distilled = student(CTC, mode=mode), student(Distilled, Distillation(weight=weight), mode=mode)
    assert list(plain.state_dict()) == list(distilled.state_dict())
    (loss, gradients), (other_loss, others) = loss_and_gradients(plain), loss_and_gradients(distilled)
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    distilled.eval()
    assert torch.equal(distilled(batch()), plain.eval()(batch()))


def test_gradients_go_into_the_student_alone():
    """The loss is CTC's plus the divergence from posteriors that are constants, known beforehand."""
    weight, temperature = 3.0, 2.0
    plain, distilled = student(CTC), student(Distilled, Distillation(weight=weight, temperature=temperature))
    with floating_point(plain.model):
        constant = plain.model(batch().features, batch().lengths)[0]
    torch.manual_seed(7)
    loss = plain(batch())
    torch.manual_seed(7)
    log_probs, lengths = plain.model(batch().features, batch().lengths)
    expected = loss + weight * temperature**2 * divergence(constant, log_probs, lengths, temperature)
    expected.backward()
    found, gradients = loss_and_gradients(distilled)
    assert found > loss
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, parameter in plain.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad, rtol=1e-3, atol=1e-6), name


def test_the_twin_moves_no_range_and_leaves_the_model_as_it_was():
    plain, distilled = (student(*made, learned=False) for made in ((CTC,), (Distilled, Distillation(weight=1.0))))
    loss_and_gradients(plain)
    loss_and_gradients(distilled)
    assert distilled.model.training
    for name, layer in quantized_layers(distilled.model).items():
        assert layer.mode == "fake"
        assert torch.equal(layer.range, quantized_layers(plain.model)[name].range), name
