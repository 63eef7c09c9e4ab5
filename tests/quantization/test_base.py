"""A released model as a start: the weights of its graph are those it computes with, and other models are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.adaptation.released import release
from tests.model.test_asr import SMALL, small
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel, load_model
from velocity.quantization.base import Base, average_with, causal, load_base, read_base
from velocity.quantization.calibration import load_quantized
from velocity.quantization.linear import floating_point, quantize_linears, quantized_layers, set_mode
from velocity.recognition.offline import SHIPPED, VelocityASR


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return release(tmp_path_factory.mktemp("released"))


@pytest.fixture
def rebuilt(released):
    base = read_base(released / "model")
    model = quantize_linears(load_model(released / "model.safetensors")).eval()
    load_base(model, base)
    return model


@pytest.mark.slow
def test_the_weights_are_those_of_the_artefact_to_the_last_bit(released, rebuilt):
    graph = onnx.load(released / "model/model.onnx").graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = quantized_layers(rebuilt)
    assert len(layers) > 5
    for name, layer in layers.items():
        integers, scale = layer.integer_weight()
        np.testing.assert_array_equal(integers.numpy().T, tensors[f"{name}.weight"], name)
        np.testing.assert_array_equal(scale.numpy(), tensors[f"{name}.weight_scale"], name)
        step, zero = layer.activation_grid()
        assert step.item() == pytest.approx(float(tensors[f"{name}.input_scale"]), rel=1e-6)
        assert zero.item() == int(tensors[f"{name}.input_zero"])
    trained = load_model(released / "model.safetensors").state_dict()
    others = {name: value for name, value in rebuilt.state_dict().items() if name in trained and "weight" not in name}
    assert {"feature_mean", "feature_std"} < others.keys()
    for name, value in others.items():
        assert torch.equal(value, trained[name]), name


@pytest.mark.slow
def test_it_computes_what_the_artefact_computes(released, rebuilt):
    mel = np.random.default_rng(1).standard_normal((1, 400, 80)).astype(np.float32)
    heard = VelocityASR(released / "model")(mel)
    set_mode(rebuilt, "fake")
    with torch.no_grad():
        rounded = rebuilt(torch.from_numpy(mel))[0].numpy()
        reference = load_quantized(released / "model.safetensors", released / "calibration.json")
        np.testing.assert_allclose(rounded, reference(torch.from_numpy(mel))[0].numpy(), atol=0.05)
    assert (rounded.argmax(-1) == heard.argmax(-1)).mean() >= 0.99
    with floating_point(rebuilt):
        plain = rebuilt(torch.from_numpy(mel))[0].numpy()
    assert np.abs(plain - rounded).mean() < 0.1  # what rounding the activations costs


@pytest.mark.slow
def test_an_average_lies_between_the_base_and_what_was_trained(released, rebuilt):
    base = read_base(released / "model")
    with torch.no_grad():
        for parameter in rebuilt.parameters():
            parameter.add_(1.0)
    average_with(rebuilt, base, 1.0)
    torch.testing.assert_close(rebuilt.head.bias, base.state["head.bias"] + 1.0)
    average_with(rebuilt, base, 0.25)
    torch.testing.assert_close(rebuilt.head.bias, base.state["head.bias"] + 0.25)
    average_with(rebuilt, base, 0.0)
    for name, value in rebuilt.state_dict().items():
        torch.testing.assert_close(value, base.state[name])


def test_a_model_of_an_older_network_is_refused(tmp_path):
    config = json.loads((SHIPPED / "velocity-asr-v2/config.json").read_text())
    del config["model"]["stride"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(VelocityError, match="made by another version, so it cannot be adapted"):
        read_base(tmp_path)


def test_the_shipped_model_can_be_a_base():
    base = read_base(SHIPPED / "velocity-asr-v2")
    model = quantize_linears(VelocityModel(base.config))
    load_base(model, base)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert sum(value.numel() for value in base.state.values()) > 4_000_000


@pytest.mark.slow
def test_a_graph_without_some_weight_is_refused(released, tmp_path):
    shutil.copytree(released / "model", tmp_path / "model")
    proto = onnx.load(tmp_path / "model/model.onnx")
    proto.graph.initializer.remove(next(value for value in proto.graph.initializer if value.name == "head.weight"))
    onnx.save(proto, tmp_path / "model/model.onnx")
    with pytest.raises(VelocityError, match=r"its graph has no head\.weight, so it cannot be adapted"):
        read_base(tmp_path / "model")
    (tmp_path / "model/model.onnx").write_bytes(b"no graph")
    with pytest.raises(VelocityError, match="not an ONNX model"):
        read_base(tmp_path / "model")
    (tmp_path / "model/model.onnx").unlink()
    with pytest.raises(VelocityError, match="no weights to adapt"):
        read_base(tmp_path / "model")


@pytest.mark.slow
def test_another_network_in_params_is_refused_by_its_key(released, rebuilt, tmp_path):
    shutil.copytree(released / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    base = read_base(tmp_path / "model")
    other = base._replace(config=type(base.config)(**{**config["model"], "conv_kernel": 9}))
    with pytest.raises(VelocityError, match=r"model\.conv_kernel is 15, but 9 in"):
        load_base(rebuilt, other)
    load_base(rebuilt, base._replace(config=type(base.config)(**{**config["model"], "dropout": 0.3})))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_head_for_phones_is_taken_where_both_have_one(before, after, tmp_path):
    torch.manual_seed(7)
    known = quantize_linears(VelocityModel(replace(SMALL, phones=before)))
    known.train()(torch.randn(1, 60, 80))
    base = Base(tmp_path, known.config, known.state_dict())
    model = quantize_linears(small(phones=after))
    drawn = small(phones=True).phone_head
    load_base(model, base)
    torch.testing.assert_close(model.head.weight, known.head.weight)
    if after:
        torch.testing.assert_close(model.phone_head.weight, known.phone_head.weight if before else drawn.weight)
        torch.testing.assert_close(model.phone_head.range, known.phone_head.range if before else torch.zeros(2))
        with torch.no_grad():
            model.phone_head.bias.zero_()
    average_with(model, base, 0.25)
    torch.testing.assert_close(model.head.weight, known.head.weight)
    if after:
        expected = 0.75 * known.phone_head.bias if before else torch.zeros(48)
        torch.testing.assert_close(model.phone_head.bias, expected)


@pytest.mark.parametrize("kernel", [1, 4, 15])
def test_a_causal_model_starts_as_what_its_bidirectional_base_computes_of_the_past(kernel):
    """Where the base uses neither the future nor its heads that run backwards, both are the same."""
    torch.manual_seed(0)
    config = replace(SMALL, conv_kernel=kernel, phones=True)
    original = VelocityModel(config)
    with torch.no_grad():
        for module in original.modules():
            if hasattr(module, "log_rate"):
                module.conv.weight[..., kernel // 2 + 1 :] = 0
                half = module.inner // 2
                module.input.weight[half : module.inner] = module.input.bias[half : module.inner] = 0  # their gates
                module.log_rate.uniform_(0, 2)
    turned = causal(Base("base", config, quantize_linears(original).state_dict()))
    model = quantize_linears(VelocityModel(replace(config, direction="causal", context_window=4)))
    load_base(model, turned)
    u, mask = torch.randn(2, 50, config.dim), torch.ones(2, 50, 1)
    mixers = {name: module for name, module in original.named_modules() if hasattr(module, "log_rate")}
    assert len(mixers) == config.blocks + config.context_layers
    for name, mixer in mixers.items():
        with torch.no_grad():
            expected, found = mixer(u, mask), model.get_submodule(name)(u, mask)
        torch.testing.assert_close(found, expected, msg=name)
    assert causal(turned) is turned
    assert torch.equal(model.phone_head.weight, original.phone_head.weight)


def test_a_bidirectional_base_does_not_fit_a_causal_model_as_it_is():
    base = Base("base", SMALL, quantize_linears(VelocityModel(SMALL)).state_dict())
    with pytest.raises(VelocityError, match=r"model\.direction is causal, but bidirectional in base"):
        load_base(quantize_linears(small("causal")), base)
