"""INT8 layers against arithmetic done by hand, and what training sees against what the artefact computes."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.model.test_asr import small
from velocity.quantization.linear import (
    QuantizedLinear,
    floating_point,
    quantize_linears,
    quantized_layers,
    set_mode,
    training_mode,
)


def layer(low: float = -1.5, high: float = 2.5, bias: bool = True, learned: bool = False) -> QuantizedLinear:
    torch.manual_seed(0)
    quantized = QuantizedLinear(nn.Linear(24, 10, bias=bias), learned=learned).train(learned)
    quantized.range.copy_(torch.tensor([low, high]))
    quantized.mode = "fake"
    return quantized


def integer_product(quantized: QuantizedLinear, x: np.ndarray) -> np.ndarray:
    """QuantizeLinear, an integer product, and one multiplication by the scales, as ONNX defines them."""
    scale, zero = (tensor.item() for tensor in quantized.activation_grid())
    weight = quantized.weight.detach().numpy()
    weight_scale = np.abs(weight).max(1) / 63
    weight_int8 = np.clip(np.rint(weight / weight_scale[:, None]), -63, 63).astype(np.int64)
    x_int8 = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int64)
    product = (x_int8 - zero) @ weight_int8.T
    return product * (scale * weight_scale) + (quantized.bias.detach().numpy() if quantized.bias is not None else 0)


@pytest.mark.parametrize(("low", "high"), [(-1.5, 2.5), (-0.3, 7.7), (0.0, 4.0), (-3.0, 0.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_fake_quantisation_is_the_integer_product(low, high, bias):
    quantized, x = layer(low, high, bias), torch.randn(7, 24) * 2  # beyond the range: it has to saturate
    assert np.abs(quantized(x).detach().numpy() - integer_product(quantized, x.numpy())).max() <= 1e-4
    assert bias or quantized(torch.zeros(1, 24)).abs().max() == 0, "zero is exact"


def test_gradients_pass_where_the_input_is_in_range():
    quantized = layer()
    x = torch.tensor([[0.5] * 12 + [9.0] * 12], requires_grad=True)
    quantized(x).sum().backward()
    assert x.grad[:, :12].abs().min() > 0
    assert x.grad[:, 12:].abs().max() == 0
    assert quantized.weight.grad.abs().min() > 0


def test_ranges_are_followed_once_they_count():
    assert [training_mode(step, 900) for step in (0, 399, 400, 899, 900)] == ["float"] * 2 + ["observe"] * 2 + ["fake"]
    quantized = QuantizedLinear(nn.Linear(4, 4)).train()
    quantized.mode = "float"
    x = torch.randn(3, 4)
    assert torch.equal(quantized(x), nn.functional.linear(x, quantized.weight, quantized.bias))
    assert not quantized.range.any()


def test_ranges_follow_the_inputs_in_training_only():
    quantized = QuantizedLinear(nn.Linear(4, 4)).train()
    quantized(torch.tensor([[-1.0, 0.0, 2.0, 3.0]]))
    assert quantized.range.tolist() == [-1.0, 3.0]
    quantized(torch.tensor([[1.0, 2.0, 3.0, 13.0]]))  # zero stays inside: 1 % of the way from -1 to 0 and from 3 to 13
    assert quantized.range.tolist() == pytest.approx([-0.99, 3.1])
    quantized.eval()(torch.full((1, 4), 99.0))
    assert quantized.range.tolist() == pytest.approx([-0.99, 3.1])


def test_quantizing_keeps_parameters_names_and_the_floating_point_result():
    model, mel = small(), torch.randn(1, 90, 80)
    quantized = quantize_linears(copy.deepcopy(model))
    assert [name for name, _ in quantized.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert torch.equal(quantized(mel)[0], model(mel)[0])
    linears = sum(type(module) is nn.Linear for module in model.modules())
    assert len(quantized_layers(quantized)) == linears == 2 * 4 + 2 + 3 + 1 + 1


def test_a_learned_range_starts_as_the_moving_average_and_is_then_fixed():
    moving, learned = (QuantizedLinear(nn.Linear(4, 4), learned=learned) for learned in (False, True))
    x = torch.ones(1, 4)
    learned.load_state_dict(moving.state_dict(), strict=False)
    for number in range(3):
        moving.train()(x * number)
        learned.train()(x * number)
    assert torch.equal(moving.range, learned.range)
    moving.mode = learned.mode = "fake"
    assert torch.equal(moving.eval()(x), learned.eval()(x))
    learned.train()(x * 50)
    assert torch.equal(moving.range, learned.range)


def test_gradients_of_a_learned_range_are_those_of_lsq_and_pact():
    """Esser et al. 2020, equation 3, in range: round(x / s) - x / s for each of the ends' 1/255 of s; clipped: the end
    itself. Times the end, for the stretch is a logarithm, and LSQ's scale of gradients."""
    low, high = -1.0, 2.0
    quantized = layer(low, high, learned=True)
    quantized.weight.data = torch.eye(10, 24) * 127  # integer weights of 127 and scale 1: the output is the input
    quantized.bias.data.zero_()
    x = torch.linspace(-1.7, 2.9, 24).unsqueeze(0)
    upstream = torch.randn(1, 10)
    (quantized(x) * upstream).sum().backward()
    scale = 3.0 / 255
    by_low = by_high = 0.0
    for value, gradient in zip(x[0, :10].tolist(), upstream[0].tolist(), strict=True):
        step = value / scale
        if round(step) < round(low / scale):  # clipped; the end itself is rounded to the grid
            off = round(low / scale) - low / scale
            by_low, by_high = by_low + 127 * gradient * (1 - off / 255), by_high + 127 * gradient * off / 255
        else:
            off = round(step) - step
            by_low, by_high = by_low - 127 * gradient * off / 255, by_high + 127 * gradient * off / 255
    expected = torch.tensor([by_low * low, by_high * high]) / math.sqrt(24 * 255)
    assert torch.allclose(quantized.stretch.grad, expected, rtol=2e-3, atol=1e-5)


def test_the_exported_grid_is_that_of_the_learned_range():
    quantized, x = layer(learned=True), torch.randn(7, 24) * 2
    quantized.stretch.data = torch.tensor([0.3, -0.4])
    assert quantized.activation_range() == pytest.approx((-1.5 * math.exp(0.3), 2.5 * math.exp(-0.4)))
    assert np.abs(quantized(x).detach().numpy() - integer_product(quantized, x.numpy())).max() <= 1e-4
    before = quantized(x)
    quantized.set_activation_range(*quantized.activation_range())
    assert torch.allclose(quantized(x), before, atol=1e-6)
    assert quantized.stretch.tolist() == [0.0, 0.0]


def test_bf16_rounds_the_product_alone():
    """Integers up to 256 are exact in bf16: what training saw differs by the rounding of its outputs, not of inputs."""
    quantized, x = layer(bias=False), torch.randn(64, 24)
    exact = quantized(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = quantized(x)
    assert rounded.dtype == torch.bfloat16
    assert ((rounded.float() - exact).abs() <= 2.0**-7 * exact.abs()).all()


def test_the_floating_point_twin_and_the_model_after_it():
    model, mel = quantize_linears(small(dropout=0.2)).train(), torch.randn(1, 90, 80)
    model(mel)
    ranges = [layer.range.clone() for layer in quantized_layers(model).values()]
    set_mode(model, "fake")
    with floating_point(model):
        assert torch.equal(model(mel)[0], small()(mel)[0])
    assert model.training
    for layer, before in zip(quantized_layers(model).values(), ranges, strict=True):
        assert layer.mode == "fake"
        assert torch.equal(layer.range, before)


def saturating_product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (n, k) uint8 times weight (k, m) int8 as ``vpmaddubsw`` computes it: sums of two products saturate at 16 bits.

    Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW: saturated to int16, then added in int32.
    """
    products = x[:, :, None].astype(np.int32) * weight[None].astype(np.int32)  # (n, k, m)
    pairs = np.clip(products[:, 0::2] + products[:, 1::2], -32768, 32767)
    return pairs.sum(1)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["drawn", "largest"]))
def test_no_processor_saturates_the_integer_product(seed, inputs):
    random = np.random.default_rng(seed)
    quantized = QuantizedLinear(nn.Linear(32, 6))
    quantized.weight.data = torch.from_numpy(random.standard_t(2, (6, 32)).astype(np.float32))
    weight = quantized.integer_weight()[0].numpy().T  # (32, 6)
    x = random.integers(0, 256, (5, 32), dtype=np.uint8) if inputs == "drawn" else np.full((5, 32), 255, np.uint8)
    assert (saturating_product(x, weight) == x.astype(np.int64) @ weight.astype(np.int64)).all()


def test_full_bytes_would_saturate():
    x, weight = np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
    assert saturating_product(x, weight)[0, 0] == 32767 < 2 * 255 * 127
