"""A model with a head for phones: ONNX gives its posteriors, and the other targets are as without it."""

import json
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.artefacts.conftest import exporter, write_trained
from tests.artefacts.test_onnx import optimised
from velocity.artefacts.target import Bars, export_target, targets
from velocity.evaluation.parity import compare, load_reference, torch_reference, verdict
from velocity.model.asr import VelocityModel, load_model, save_model
from velocity.phones import CLASSES
from velocity.quantization.base import load_base, read_base
from velocity.quantization.calibration import load_quantizable, load_quantized
from velocity.quantization.linear import quantize_linears, quantized_layers
from velocity.recognition.offline import VelocityASR


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    found = write_trained(tmp_path_factory.mktemp("trained"), phones=True)
    model, _ = load_quantizable(found.weights)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # equal constants would be kept once in the graph
            parameter.copy_((parameter + 0.02 * torch.randn_like(parameter)).half())
    save_model(model, found.weights)
    return found


@pytest.fixture(scope="module")
def artefact(trained, tmp_path_factory):
    return exporter(trained, tmp_path_factory.mktemp("artefacts"))


def run(folder, mel: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["log_probs", "lengths", "phone_log_probs"]
    return session.run(None, {"mel_spectrogram": mel.numpy()})


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (1, 1111)])
def test_floating_point_artefact_gives_the_phones_of_the_model(shape, trained, artefact):
    mel, model = torch.randn(*shape, 80), load_model(trained.weights)
    with torch.no_grad():
        letters, lengths = model(mel)
        phones = model.phone_log_posteriors(model.encode(model.normalize(mel)).frames)
    found = run(artefact("onnx"), mel)
    assert np.abs(found[0] - letters.numpy()).max() <= 1e-4
    assert found[1].tolist() == lengths.tolist()
    assert found[2].shape == (*letters.shape[:2], CLASSES)
    assert np.abs(found[2] - phones.numpy()).max() <= 1e-4
    assert np.array_equal(VelocityASR(artefact("onnx"))(mel, phones=True), found[2])
    assert np.allclose(torch_reference(model, phones=True)(mel.numpy()), phones, atol=1e-6)


def test_int8_artefact_computes_the_phones_with_integers(trained, artefact, tmp_path):
    folder, mel = artefact("onnx-int8"), torch.randn(2, 300, 80)
    quantized, floating = load_quantized(trained.weights, trained.calibration), load_model(trained.weights)
    with torch.no_grad():
        expected, exact = quantized.outputs(mel)[2], floating.outputs(mel)[2]
    error = np.abs(run(folder, mel)[2] - expected.numpy())
    assert error.mean() <= 0.25 * (exact - expected).abs().mean() + 1e-6
    nodes = optimised(folder / "model.onnx", tmp_path).node
    assert sum(node.op_type == "MatMulIntegerToFloat" for node in nodes) == len(quantized_layers(quantized))
    assert json.loads((folder / "config.json").read_text())["model"]["phones"] is True
    assert VelocityASR(folder)(mel[:1].numpy()).shape == (1, 150, 30)  # the letters, as ever


def test_a_base_has_the_same_head_again(trained, artefact):
    base = read_base(artefact("onnx-int8"))
    model = quantize_linears(VelocityModel(base.config))
    load_base(model, base)
    reference = load_quantized(trained.weights, trained.calibration)
    (integers, scale), (expected, expected_scale) = (each.phone_head.integer_weight() for each in (model, reference))
    assert torch.equal(integers, expected)
    assert torch.equal(scale, expected_scale)
    assert torch.equal(model.phone_head.bias, reference.phone_head.bias)
    for found, known in zip(model.phone_head.activation_grid(), reference.phone_head.activation_grid(), strict=True):
        assert found.item() == pytest.approx(known.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "source"), [("onnx-int4", True), ("tflite", True), ("tflite-int8", False), ("coreml-int8", False)]
)
def test_other_targets_give_letters_alone(name, source, trained, artefact, tmp_path):
    """Whether they are made anew or of an artefact, which may give phones."""
    target = targets()[name]
    if not target.comparison.installed():
        pytest.skip(f"{target.comparison.library} is not installed")
    export_target(name, trained, tmp_path / name, artefact(target.made_from) if source else None)
    speech = [np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32) for samples in (400, 50_000)]
    reference = torch_reference(load_reference(target.comparison.reference, trained.weights, trained.calibration))
    found = compare(reference, target.comparison.load(tmp_path / name, 1), speech)
    assert verdict(found, Bars(0.9, target.comparison.bars.max_abs_error))["failed"] == []
    if name == "onnx-int4":
        graph = onnx.load(tmp_path / name / "model.onnx").graph
        assert [output.name for output in graph.output] == ["log_probs", "lengths"]


def test_graphs_for_live_sound_give_the_phones_chunk_by_chunk(tmp_path):
    trained = write_trained(tmp_path / "trained", "causal", phones=True)
    speech = [np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32) for samples in (400, 50_000)]
    for name, source in (("onnx-streaming", None), ("onnx-streaming-int8", "onnx-streaming")):
        export_target(name, trained, tmp_path / name, source and tmp_path / source)
        model, comparison = targets()[name].comparison.load(tmp_path / name, 1), targets()[name].comparison
        assert model.gives_phones
        for phones in (False, True):
            reference = load_reference(comparison.reference, trained.weights, trained.calibration)
            expected = torch_reference(reference, phones=phones)
            figures = compare(expected, partial(model, phones=phones), speech)
            assert verdict(figures, Bars(0.98, comparison.bars.max_abs_error))["failed"] == []
