"""Weights of 4 and 2 bits: against arithmetic done by hand, and what training makes of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.model.test_asr import small
from velocity.model.asr import save_model
from velocity.quantization.linear import set_mode
from velocity.quantization.low_bits import (
    NORMAL_STEP,
    ZERO_POINT,
    keep_rounded,
    learn_low_bits,
    load_low_bits,
    round_blocks,
    round_rows,
)

LEVELS = {4: np.arange(-8, 8), 2: np.array([-1.5, -0.5, 0.5, 1.5])}


def learning(bits: int, stretch: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    model = learn_low_bits(nn.Sequential(nn.Linear(48, 10), nn.Linear(10, 4)), bits)
    with torch.no_grad():
        model[0].step_stretch.normal_(0.0, stretch)
    set_mode(model, "fake")
    return model


def expected_step(layer: nn.Module, bits: int) -> torch.Tensor:
    """(rows,): a normal distribution's best, stretched, in 16 bits."""
    spread, stretch = layer.weight.detach().std(1), layer.step_stretch.detach()
    return (spread * NORMAL_STEP[bits] * stretch.exp()).half().to(spread.dtype)


@pytest.mark.parametrize("bits", [4, 2])
def test_a_training_layer_computes_with_the_nearest_levels(bits):
    layer = learning(bits)[0]
    weight = layer.weight.detach().numpy()
    step = expected_step(layer, bits).numpy()
    nearest = np.abs(weight[..., None] / step[:, None, None] - LEVELS[bits]).argmin(-1)
    rounded = LEVELS[bits][nearest] * step[:, None]
    x = torch.randn(7, 48)
    expected = x.numpy() @ rounded.T + layer.bias.detach().numpy()
    assert np.abs(layer(x).detach().numpy() - expected).max() <= 1e-5


@pytest.mark.parametrize("bits", [4, 2])
def test_the_gradient_of_a_step_is_that_of_lsq(bits):
    layer = learning(bits)[0].double().eval()  # no range is followed
    x = torch.randn(5, 48, dtype=torch.double)
    layer(x).square().sum().backward()
    upstream = (2 * layer(x).detach()).T @ x  # of the rounded weight, (10, 48)
    step = expected_step(layer, bits).unsqueeze(1)
    v = layer.weight.detach() / step
    low, high = float(LEVELS[bits].min()), float(LEVELS[bits].max())
    rounded = layer.rounded_weight().detach() / step
    slope = torch.where((v > low) & (v < high), rounded - v, v.clamp(low, high))  # equation 3 of the paper
    expected = (48 * (2**bits - 1)) ** -0.5 * step[:, 0] * (upstream * slope).sum(1)  # of the step's logarithm
    assert torch.allclose(layer.step_stretch.grad, expected, rtol=1e-3)
    inside = ((v > low) & (v < high)).double()
    assert torch.allclose(layer.weight.grad, upstream * inside)


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from([4, 2]), inputs=st.integers(1, 70), seed=st.integers(0, 2**31), spread=st.floats(1e-3, 50))
def test_rounded_weights_are_found_again_to_the_bit(bits, inputs, seed, spread):
    random = np.random.default_rng(seed)
    step = (spread * random.uniform(0.5, 2.0, (6, 1))).astype(np.float16).astype(np.float32)
    weight = torch.from_numpy(random.choice(LEVELS[bits], (6, inputs)).astype(np.float32) * step)
    codes, found = round_rows(weight, bits)
    assert torch.equal((codes - ZERO_POINT[bits]) * found.unsqueeze(1), weight)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.0125), (2, 0.125)])  # Max 1960: 0.0115 and 0.119 for endless rows
def test_other_weights_are_rounded_about_as_well_as_can_be(bits, most):
    torch.manual_seed(0)
    weight = torch.randn(8, 2000) * torch.logspace(-3, 2, 8).unsqueeze(1)
    codes, step = round_rows(weight, bits)
    error = (codes - ZERO_POINT[bits]) * step.unsqueeze(1) - weight
    assert (error.square().mean(1) / weight.square().mean(1)).mean() <= most


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_blocks_are_off_by_half_a_step_at_most(size, seed):
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal(size).astype(np.float32))
    codes, step = round_blocks(values)
    blocks = np.zeros(codes.numel(), dtype=np.float32)
    blocks[:size] = values.numpy()
    blocks = blocks.reshape(codes.shape)
    assert np.allclose(step.numpy(), np.abs(blocks).max(1) / 127, rtol=1e-3)
    assert (np.abs(codes.numpy() * step.numpy()[:, None] - blocks) <= 0.6 * step.numpy()[:, None]).all()
    assert not codes.flatten()[size:].any()


@pytest.mark.parametrize("bits", [4, 2])
def test_a_kept_model_is_the_trained_one_and_survives_its_file(bits, tmp_path):
    model = learn_low_bits(small(blocks=1), bits)
    mel = torch.randn(2, 90, 80)
    model.train()(mel)
    set_mode(model.eval(), "fake")
    with torch.no_grad():
        trained, _ = model(mel)
        keep_rounded(model)
        set_mode(model, "observe")
        kept, _ = model(mel)
    assert torch.equal(trained, kept)
    assert not [name for name, _ in model.named_parameters() if "stretch" in name]
    save_model(model, tmp_path / "model.safetensors")
    layers = [
        module for module in load_low_bits(tmp_path / "model.safetensors", bits).modules() if type(module) is nn.Linear
    ]
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(layers) == len(weights) > 5
    for layer, weight in zip(layers, weights, strict=True):
        assert torch.equal(layer.weight, weight)
        assert max(len(row.unique()) for row in weight) <= 2**bits
