"""Ranges from what layers are given, methods against each other, and model files of every kind."""

import json

import pytest
import torch

from tests.model.test_asr import small
from velocity.errors import VelocityError
from velocity.files import write_json
from velocity.model.asr import load_model, save_model
from velocity.quantization.calibration import (
    choose_ranges,
    compare,
    load_quantizable,
    load_quantized,
    observe,
    set_ranges,
    trained_ranges,
)
from velocity.quantization.linear import quantize_linears, quantized_layers, set_mode


def trained_file(path, learned: bool = False):
    model = quantize_linears(small(), learned).train()
    model(torch.randn(2, 120, 80))
    if learned:
        for number, layer in enumerate(quantized_layers(model).values()):
            layer.stretch.data = torch.tensor([0.01, -0.02]) * number
    save_model(model, path)
    return model


@pytest.mark.parametrize("learned", [False, True])
def test_trained_ranges_come_back_from_the_file(tmp_path, learned):
    model = trained_file(tmp_path / "m.safetensors", learned)
    loaded, trained = load_quantizable(tmp_path / "m.safetensors")
    assert trained
    ranges = trained_ranges(loaded)
    assert ranges == {name: layer.activation_range() for name, layer in quantized_layers(model).items()}
    layers = {name: {"low": low, "high": high} for name, (low, high) in ranges.items()}
    write_json(tmp_path / "c.json", {"layers": layers})
    mel = torch.randn(1, 90, 80)
    set_mode(model.eval(), "fake")
    again = load_quantized(tmp_path / "m.safetensors", tmp_path / "c.json")
    assert torch.allclose(again(mel)[0], model(mel)[0], atol=1e-3)
    exact = load_model(tmp_path / "m.safetensors")(mel)[0]
    assert 0 < (again(mel)[0] - exact).abs().mean() < 0.05


def test_a_file_trained_without_quantisation_loads_and_others_are_refused(tmp_path):
    model = small()
    save_model(model, tmp_path / "m.safetensors")
    loaded, trained = load_quantizable(tmp_path / "m.safetensors")
    assert not trained
    mel = torch.randn(1, 90, 80)
    assert torch.equal(loaded(mel)[0], model(mel)[0])
    model.register_buffer("other", torch.zeros(1))
    save_model(model, tmp_path / "other.safetensors")
    with pytest.raises(VelocityError, match="do not fit its configuration: other"):
        load_quantizable(tmp_path / "other.safetensors")
    (tmp_path / "c.json").write_text(json.dumps({"layers": {}}))
    with pytest.raises(VelocityError, match=r"c\.json: made for another model"):
        load_quantized(tmp_path / "m.safetensors", tmp_path / "c.json")


def test_observed_extremes_are_those_of_the_layer_input():
    model = quantize_linears(small())
    caught = []
    model.head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    seen = observe(model, [torch.randn(1, 64, 80), torch.randn(1, 31, 80)])
    values = torch.cat([inputs.flatten() for inputs in caught])
    assert seen["head"].low == pytest.approx(min(0.0, values.min().item()))
    assert seen["head"].high == pytest.approx(values.max().item())
    assert seen["head"].counts.sum() == len(values)


def test_the_layer_of_the_phones_is_seen_as_well():
    """By a forward pass, which gives the letters alone."""
    model = quantize_linears(small(phones=True))
    seen = observe(model, [torch.randn(1, 64, 80)])
    assert seen["phone_head"].counts.sum() == 32 * 32
    assert (seen["phone_head"].low, seen["phone_head"].high) == (seen["head"].low, seen["head"].high)


def test_methods_are_compared_with_floating_point_on_the_same_utterances():
    model = quantize_linears(small())
    utterances = [torch.randn(1, frames, 80) for frames in (50, 90, 140)]
    methods = choose_ranges(observe(model, utterances), 99.0)
    assert set(methods) == {"minmax", "percentile", "entropy"}
    for method in ("percentile", "entropy"):
        for name, (low, high) in methods[method].items():
            assert methods["minmax"][name][0] <= low <= 0 <= high <= methods["minmax"][name][1]
    methods["spoiled"] = {name: (0.01 * low, 0.01 * high) for name, (low, high) in methods["minmax"].items()}
    exactly, found = compare(model, methods, utterances)
    figures = {method: agreement.figures() for method, agreement in found.items()}
    assert figures["minmax"]["same_best_class_percent"] > 90 > figures["spoiled"]["same_best_class_percent"]
    assert figures["minmax"]["snr_db"] > 20 > figures["spoiled"]["snr_db"]

    set_ranges(model, methods["minmax"])  # by hand
    signal = noise = 0.0
    for mel, tokens in zip(utterances, exactly, strict=True):
        set_mode(model, "observe")
        exact = model(mel)[0]
        set_mode(model, "fake")
        signal, noise = signal + exact.square().sum(), noise + (exact - model(mel)[0]).square().sum()
        path = torch.unique_consecutive(exact.argmax(-1))
        assert tokens == path[path != 0].tolist()
    assert figures["minmax"]["snr_db"] == pytest.approx(10 * torch.log10(signal / noise).item(), rel=1e-4)
