"""The optimiser of matrices, against the singular value decomposition and PyTorch's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training.tones import settings as optimisation
from velocity.config.model import ModelConfig
from velocity.config.reader import default_section
from velocity.model.asr import VelocityModel
from velocity.training.muon import Muon, orthogonal, orthogonal_bf16
from velocity.training.objectives.ctc import CTC
from velocity.training.optimiser import optimisers

BOTH = pytest.mark.parametrize(("levelled", "tolerance"), [(orthogonal, 1e-3), (orthogonal_bf16, 0.04)])


@BOTH
@given(m=st.integers(1, 40), n=st.integers(1, 40), scale=st.sampled_from([1e-4, 1.0, 1e4]), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_singular_vectors_are_kept_and_singular_values_levelled(levelled, tolerance, m, n, scale, seed):
    torch.manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(m, min(m, n)))
    right, _ = torch.linalg.qr(torch.randn(n, min(m, n)))
    values = torch.logspace(0, -1.5, min(m, n)) * scale
    within = left.T @ levelled(left * values @ right.T) @ right  # diagonal, if the singular vectors are the same
    assert 0.6 < within.diagonal().min() <= within.diagonal().max() < 1.3
    assert (within - within.diagonal().diag()).abs().max() < tolerance


@BOTH
def test_nothing_becomes_nothing(levelled, tolerance):
    assert levelled(torch.zeros(3, 5)).equal(torch.zeros(3, 5))


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 0.03), (True, 0.02)])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_steps_are_those_of_pytorch_but_for_its_sixteen_bits(shape, bf16, tolerance):
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    chosen = {"lr": 0.02, "weight_decay": 0.1}
    one, other = Muon([ours], bf16=bf16, **chosen), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **chosen)
    for _ in range(4):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    moved = (ours - 1).norm()
    assert moved > 0.1
    assert (ours - theirs).norm() < tolerance * moved


def test_every_weight_has_one_optimiser_and_heads_have_adamw():
    model = VelocityModel(default_section("model", ModelConfig, vocabulary=9, blocks=2, half_rate=0))
    objective = CTC(model, early=0.3)
    muon, adamw = optimisers(objective, optimisation(10))
    of_muon, of_adamw = (
        [id(p) for group in optimiser.param_groups for p in group["params"]] for optimiser in (muon, adamw)
    )
    assert sorted(of_muon + of_adamw) == sorted(id(p) for p in objective.parameters())
    names = {id(p): name for name, p in objective.named_parameters()}
    assert {names[key].split(".")[1] for key in of_muon} == {"blocks", "context", "fusion"}
    assert {"model.head.weight", "early_head.1.weight", "model.binding.convs.0.weight"} <= {names[k] for k in of_adamw}
    undecayed = [p for group in adamw.param_groups if not group["weight_decay"] for p in group["params"]]
    assert all(p.dim() <= 1 for p in undecayed)


def test_a_weight_without_gradient_stays():
    weight = nn.Parameter(torch.ones(3, 4))
    Muon([weight], lr=0.1, weight_decay=0.1).step()
    assert weight.equal(torch.ones(3, 4))
