"""INT8 layers against arithmetic done by hand, and what training sees against what the artefact computes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.model.test_asr import small
from velocity.files import write_json
from velocity.model.asr import load_model, save_model
from velocity.quantization.calibration import choose_ranges, load_quantizable, load_quantized, observe, representative
from velocity.quantization.linear import QuantizedLinear, quantize_linears, quantized_layers, set_mode


def layer(low: float = -1.5, high: float = 2.5, bias: bool = True) -> QuantizedLinear:
    torch.manual_seed(0)
    quantized = QuantizedLinear(nn.Linear(24, 10, bias=bias)).eval()
    quantized.range.copy_(torch.tensor([low, high]))
    quantized.mode = "fake"
    return quantized


def integer_product(quantized: QuantizedLinear, x: np.ndarray) -> np.ndarray:
    """QuantizeLinear, an integer product, and one multiplication by the scales, as ONNX defines them."""
    scale, zero = (tensor.item() for tensor in quantized.activation_grid())
    weight = quantized.weight.detach().numpy()
    weight_scale = np.abs(weight).max(1) / 127
    weight_int8 = np.clip(np.rint(weight / weight_scale[:, None]), -127, 127).astype(np.int64)
    x_int8 = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int64)
    product = (x_int8 - zero) @ weight_int8.T
    return product * (scale * weight_scale) + (quantized.bias.detach().numpy() if quantized.bias is not None else 0)


@pytest.mark.parametrize(("low", "high"), [(-1.5, 2.5), (0.0, 4.0), (-3.0, 0.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_fake_quantisation_is_the_integer_product(low, high, bias):
    quantized, x = layer(low, high, bias), torch.randn(7, 24) * 2  # beyond the range: it has to saturate
    assert np.abs(quantized(x).detach().numpy() - integer_product(quantized, x.numpy())).max() <= 1e-4


def test_zero_is_exact_whatever_the_range():
    quantized = layer(-0.3, 7.7, bias=False)
    assert quantized(torch.zeros(1, 24)).abs().max() == 0


def test_gradients_pass_where_the_input_is_in_range():
    quantized = layer()
    x = torch.tensor([[0.5] * 12 + [9.0] * 12], requires_grad=True)
    quantized(x).sum().backward()
    assert x.grad[:, :12].abs().min() > 0
    assert x.grad[:, 12:].abs().max() == 0
    assert quantized.weight.grad.abs().min() > 0


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


def test_calibration_methods_and_round_trip(tmp_path):
    model = quantize_linears(small()).train()
    model(torch.randn(2, 120, 80))
    save_model(model, tmp_path / "model.safetensors")
    loaded, trained = load_quantizable(tmp_path / "model.safetensors")
    assert trained
    utterances = [torch.randn(1, frames, 80) for frames in (50, 90, 140)]
    seen = observe(loaded, utterances, seed=0)
    minmax = choose_ranges(loaded, seen, "minmax", 99.0)
    percentile = choose_ranges(loaded, seen, "percentile", 99.0)
    assert choose_ranges(loaded, seen, "trained", 0)["head"] == tuple(model.head.range.tolist())
    for name, (low, high) in percentile.items():
        assert minmax[name][0] <= low <= 0 <= high <= minmax[name][1]
    write_json(tmp_path / "c.json", {"layers": {n: {"low": low, "high": high} for n, (low, high) in minmax.items()}})
    quantized = load_quantized(tmp_path / "model.safetensors", tmp_path / "c.json")
    exact = load_model(tmp_path / "model.safetensors")(utterances[2])[0]
    error = (quantized(utterances[2])[0] - exact).abs()
    assert 0 < error.mean() < 0.05


def test_observed_extremes_are_those_of_the_layer_input():
    model = quantize_linears(small())
    mel = torch.randn(1, 64, 80)
    caught = []
    model.head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    seen = observe(model, [mel], seed=0)
    assert seen["head"]["low"] == pytest.approx(min(0.0, caught[0].min().item()))
    assert seen["head"]["high"] == pytest.approx(caught[0].max().item())


def test_representative_utterances_span_the_lengths():
    class Cut:
        def __init__(self, duration):
            self.duration, self.id = duration, f"{duration:04d}"
            self.supervisions = [type("S", (), {"speaker": "a"})]

    chosen = representative([Cut(duration) for duration in range(1, 101)], 5)
    assert [cut.duration for cut in chosen] == [1, 26, 51, 75, 100]


def test_set_mode_reaches_every_layer():
    model = quantize_linears(small())
    set_mode(model, "fake")
    assert {layer.mode for layer in quantized_layers(model).values()} == {"fake"}
