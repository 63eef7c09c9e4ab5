"""The TFLite artefacts, run by LiteRT, against PyTorch."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.artefacts.test_onnx import SHAPES
from tests.model.test_asr import SMALL, small
from tests.tone_model import VOCABULARY, speak, write_model
from velocity.artefacts.onnx_graph import export_onnx
from velocity.artefacts.waveform import MelFeatures, WaveformModel
from velocity.audio import FLOOR, compute_mel_spectrogram
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel
from velocity.quantization.linear import quantize_linears, quantized_layers
from velocity.recognition.offline import VelocityASR

interpreter = pytest.importorskip("ai_edge_litert.interpreter")
pytest.importorskip("tensorflow")

from velocity.artefacts.tflite_file import TFLiteFile  # noqa: E402
from velocity.artefacts.tflite_model import TFLiteModel, quantize_tflite, set_labels, tflite_from_onnx  # noqa: E402

SOUNDS = [(1, 1), (1, 160), (1, 161), (2, 3200), (3, 16_001), (1, 170_000)]  # batch, samples


def written(path, content: bytes) -> TFLiteModel:
    path.write_bytes(content)
    return TFLiteModel(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tflite")


@pytest.fixture(scope="module")
def content(artefact):
    return (artefact("tflite") / "model.tflite").read_bytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_floating_point_artefact_is_the_model(floating, artefact, shape):
    mel = torch.randn(*shape, 80)
    with torch.no_grad():
        expected, lengths = floating(mel)
    log_probs, output_lengths = TFLiteModel(artefact("tflite") / "model.tflite").run(mel.numpy())
    assert np.abs(log_probs - expected.numpy()).max() <= 1e-4
    assert output_lengths.tolist() == lengths.tolist()


@pytest.mark.slow
def test_the_conversion_gives_the_same_bytes(artefact):
    graph = onnx.load(artefact("onnx") / "model.onnx")
    assert tflite_from_onnx(graph) == tflite_from_onnx(graph)


def test_the_file_holds_built_in_operators_and_nothing_of_this_machine(content):
    file = TFLiteFile(content)
    kinds = {file.kind(operator) for operator in file.graph.operators}
    assert {"FULLY_CONNECTED", "GELU", "CUMSUM"} <= kinds
    assert "CUSTOM" not in kinds  # what TensorFlow's own operators would be
    assert b".py" not in content
    assert b"site-packages" not in content


def test_int8_artefact_holds_the_trained_integers_and_scales(quantized, artefact):
    loaded = interpreter.Interpreter(str(artefact("tflite-int8") / "model.tflite"))
    loaded.allocate_tensors()
    tensors = [tensor for tensor in loaded.get_tensor_details() if tensor["dtype"] == np.int8]
    weights = {}  # integers → scales
    for tensor in (tensor for tensor in tensors if len(tensor["shape"]) == 2):
        grid = tensor["quantization_parameters"]
        assert grid["quantized_dimension"] == 0
        assert not grid["zero_points"].any()
        weights[loaded.get_tensor(tensor["index"]).tobytes()] = grid["scales"].tolist()
    layers = quantized_layers(quantized).values()
    assert weights == {w.numpy().tobytes(): scale.tolist() for w, scale in (one.integer_weight() for one in layers)}
    inputs = sorted(tensor["quantization"] for tensor in tensors if len(tensor["shape"]) > 2)
    assert inputs == sorted((scale.item(), zero.item()) for scale, zero in (one.activation_grid() for one in layers))


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_artefact_computes_what_training_saw(quantized, floating, artefact, shape):
    mel = torch.randn(*shape, 80)
    with torch.no_grad():
        expected, exact = quantized(mel)[0], floating(mel)[0]
    error = np.abs(TFLiteModel(artefact("tflite-int8") / "model.tflite")(mel.numpy()) - expected.numpy())
    assert error.mean() <= 0.25 * (exact - expected).abs().mean() + 1e-6


def test_integers_of_other_weights_are_refused(content):
    with pytest.raises(VelocityError, match="no product with the weight of"):
        quantize_tflite(content, quantize_linears(VelocityModel(replace(SMALL, blocks=1))))
    with pytest.raises(VelocityError, match="not a TFLite file"):
        TFLiteFile(b"something else")


def test_labels_are_in_the_file_and_change_nothing_it_computes(content, folder):
    labelled = set_labels(set_labels(content, {"name": "a"}), {"name": "tönen", "blank": "0"})
    metadata = TFLiteFile(labelled).metadata()
    assert json.loads(metadata["velocity-asr"]) == {"name": "tönen", "blank": "0"}
    mel = np.random.default_rng(0).standard_normal((1, 50, 80), np.float32)
    assert np.array_equal(
        written(folder / "labelled.tflite", labelled)(mel), written(folder / "plain.tflite", content)(mel)
    )


@pytest.fixture(scope="module")
def listening():
    return WaveformModel(small(blocks=1, direction="causal", vocabulary=VOCABULARY)).eval()


@pytest.fixture(scope="module")
def listeners(listening, folder):
    """The causal model with its features inside, in both formats: (b, samples) → log_probs, lengths."""
    graph = export_onnx(listening)
    write_model(folder / "listener")  # a configuration and a tokenizer
    onnx.save(graph, folder / "listener/model.onnx")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    tflite = written(folder / "waveform.tflite", tflite_from_onnx(graph))
    run = lambda sound: session.run(["log_probs", "lengths"], {"waveform": sound})  # noqa: E731
    return {"onnx": run, "tflite": tflite.run}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SOUNDS)
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_samples_in_are_features_in(listening, listeners, kind, shape):
    sound = 0.1 * np.random.default_rng(0).standard_normal(shape, np.float32)
    mel = np.stack([compute_mel_spectrogram(row) for row in sound])
    with torch.no_grad():
        expected, lengths = listening.model(torch.from_numpy(mel))
    log_probs, output_lengths = listeners[kind](sound)
    assert np.abs(log_probs - expected.numpy()).max() <= 1e-3
    assert output_lengths.tolist() == lengths.tolist()


@pytest.mark.slow
def test_the_runtime_recognises_with_it(listening, listeners, folder):
    sound = speak("some words", folder / "listener")
    with torch.no_grad():
        expected = listening.model(torch.from_numpy(np.asarray(compute_mel_spectrogram(sound))[None]))[0][0].numpy()
    model = VelocityASR(folder / "listener")
    found = model.log_probs(sound)
    voice = found[:, 0] < 0  # the voice detector calls the others silence
    assert voice.sum() > 20
    assert np.abs(found - expected)[voice].max() <= 1e-3
    with pytest.raises(VelocityError, match="listener: takes samples and not features"):
        model(compute_mel_spectrogram(sound))


@settings(max_examples=40)
@given(
    samples=st.integers(1, 4000),
    level=st.sampled_from([0.0, 1e-5, 0.01, 1.0]),
    hertz=st.floats(0, 8000),
    seed=st.integers(0, 99),
)
def test_features_inside_are_those_of_training(samples, level, hertz, seed):
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)
    sound = (tone + level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)
    expected = np.asarray(compute_mel_spectrogram(sound))
    found = MelFeatures()(torch.from_numpy(np.stack([sound, 0 * sound])))
    assert found.shape == (2, *expected.shape)
    # Where a tone leaves a bin 60 dB below it; further below, sums of single precision are as large as what they sum.
    audible = expected > np.log(1e-6)
    assert np.abs(found[0].numpy() - expected)[audible].max(initial=0.0) <= 2e-3
    assert (found[0].numpy()[~audible] < np.log(2e-6)).all()
    assert torch.equal(found[1], torch.full_like(found[1], float(np.log(np.float32(FLOOR)))))


def test_the_note_matches_the_file(artefact):
    """Names and order of the outputs, shapes and types, in the table and in the code."""
    note = (artefact("tflite") / "README.md").read_text()
    run = interpreter.Interpreter(str(artefact("tflite") / "model.tflite"))
    (given,) = run.get_input_details()
    assert (list(given["shape_signature"][1:]), given["dtype"]) == ([-1, 80], np.float32)
    assert "| (1, frames, 80) | float32 |" in note
    assert "interpreter.resizeInput(0, intArrayOf(1, frames, 80))" in note
    kinds = {3: ("log_probs", "(1, frames out, 30)", "logProbs"), 1: ("lengths", "(1)", "lengths")}
    for index, output in enumerate(run.get_output_details()):
        name, shape, variable = kinds[len(output["shape"])]
        assert f"| output {index} | `{name}` | {shape} | {np.dtype(output['dtype']).name} |" in note
        assert f"{index} to {variable}" in note
