"""The streaming artefacts against the whole-utterance model, and what they tell of themselves."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.artefacts.conftest import write_trained
from tests.model.test_asr import small
from velocity.artefacts.onnx_chunks import describe_streaming
from velocity.artefacts.target import export_target, targets
from velocity.artefacts.trained import Trained
from velocity.audio import compute_mel_spectrogram
from velocity.errors import VelocityError
from velocity.evaluation.parity import compare, torch_reference, verdict
from velocity.model.asr import save_model
from velocity.quantization.linear import quantized_layers, set_mode
from velocity.recognition.decoding.greedy import greedy
from velocity.recognition.streaming import Endpoint, StreamingASR

INT8, FLOAT = "onnx-streaming-int8", "onnx-streaming"


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory):
    """Both artefacts of one quantised model, exported as the pipeline does."""
    folder = tmp_path_factory.mktemp("streaming")
    trained = write_trained(folder, "causal")
    export_target(FLOAT, trained, folder / FLOAT)
    export_target(INT8, trained, folder / INT8, folder / FLOAT)
    return trained.load_int8(), folder


def stream(folder, mel: np.ndarray, chunks: list[int]) -> np.ndarray:
    """(1, frames, 80) → (1, frames', V), by what ``config.json`` says alone."""
    described = json.loads((folder / "config.json").read_text())["streaming"]
    mel, frames = np.pad(mel, ((0, 0), (described["lead_frames"], 0), (0, 0))), mel.shape[1]
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    state = {name: np.zeros(each["shape"], each["dtype"]) for name, each in described["state"].items()}
    outputs, start, turn = [], 0, 0
    while start < mel.shape[1]:
        size = described["chunk_frames"] * chunks[turn % len(chunks)]
        piece = mel[:, start : start + size]
        piece = np.pad(piece, ((0, 0), (0, -piece.shape[1] % described["chunk_frames"]), (0, 0)))
        log_probs, *after = session.run(
            ["log_probs", *(described["after"] + name for name in state)],
            {"mel_spectrogram": piece, **state},
        )
        outputs.append(log_probs)
        state = dict(zip(state, after, strict=True))
        start, turn = start + size, turn + 1
    return np.concatenate(outputs, 1)[:, : frames // 2]


@settings(max_examples=10)
@given(chunks=st.lists(st.integers(1, 12), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_floating_point_artefact_in_chunks_is_the_model(artefacts, chunks, seed):
    model, folder = artefacts
    mel = torch.randn(1, 800, 80, generator=torch.Generator().manual_seed(seed))
    set_mode(model, "observe")
    with torch.no_grad():
        expected, _ = model(mel)
    assert np.abs(stream(folder / FLOAT, mel.numpy(), chunks) - expected.numpy()).max() <= 1e-4


def test_int8_artefact_in_chunks_computes_what_training_saw(artefacts):
    model, folder = artefacts
    mel = torch.randn(1, 800, 80)
    with torch.no_grad():
        set_mode(model, "observe")
        exact, _ = model(mel)
        set_mode(model, "fake")
        expected, _ = model(mel)
    for chunks in ([1], [2], [50]):
        error = np.abs(stream(folder / INT8, mel.numpy(), chunks) - expected.numpy())
        # Sums in another order move a value across a rounding border here and there.
        assert error.mean() <= 0.25 * (exact - expected).abs().mean() + 1e-6
    products = [node for node in onnx.load(folder / INT8 / "model.onnx").graph.node if node.op_type == "QuantizeLinear"]
    assert len(products) == len(quantized_layers(model))


def test_parity_is_measured_chunk_by_chunk_at_any_length_and_sees_a_fault(artefacts, tmp_path):
    model, folder = artefacts
    set_mode(model, "observe")
    noise = np.random.default_rng(1)
    speech = [noise.normal(0, 0.1, samples).astype(np.float32) for samples in (3_200, 15_999, 16_000, 16_160, 60_000)]
    comparison = targets()[FLOAT].comparison
    figures = compare(torch_reference(model), comparison.load(folder / FLOAT, 1), speech)
    assert verdict(figures, comparison.bars) == {"passed": True, "failed": []}
    assert figures["max_abs_error"] <= 1e-4
    shutil.copytree(folder / FLOAT, tmp_path / FLOAT)
    proto = onnx.load(tmp_path / FLOAT / "model.onnx")
    head = next(each for each in proto.graph.initializer if each.name.endswith("head.bias"))
    head.raw_data = (onnx.numpy_helper.to_array(head) + np.float32([0.01, *[0] * 29])).tobytes()
    onnx.save(proto, tmp_path / FLOAT / "model.onnx")
    figures = compare(torch_reference(model), comparison.load(tmp_path / FLOAT, 1), speech)
    assert verdict(figures, comparison.bars)["failed"][0].startswith("log-posteriors off by 0.0")


def test_artefacts_describe_their_chunks_and_state(artefacts):
    model, folder = artefacts
    for target in (FLOAT, INT8):
        config = json.loads((folder / target / "config.json").read_text())
        assert config["target"] == target
        assert config["streaming"] == describe_streaming(model)
        assert config["streaming"]["chunk_frames"] * 0.01 == 8 * config["frame_seconds"]
        assert config["streaming"]["state"]["position"] == {"shape": [1], "dtype": "int64"}
        inputs = {each.name for each in onnx.load(folder / target / "model.onnx").graph.input}
        assert inputs == {"mel_spectrogram", *config["streaming"]["state"]}


@pytest.mark.parametrize("samples", [47_000, 46_880, 900])
def test_a_live_stream_says_what_the_model_says_of_the_whole(artefacts, samples):
    """From the samples to the text, on sound that begins at once; untrained, the model babbles."""
    model, folder = artefacts
    set_mode(model, "observe")
    random = np.random.default_rng(0)
    loudness = np.repeat(random.uniform(0.01, 0.5, samples // 400 + 1), 400)[:samples]
    audio = (loudness * random.standard_normal(samples)).astype(np.float32)
    live = StreamingASR(folder / FLOAT)
    with torch.no_grad():
        log_probs, _ = model(torch.from_numpy(np.asarray(compute_mel_spectrogram(audio)))[None])
    expected = " ".join(live.tokenizer.decode(greedy(log_probs[0].numpy())).split())
    events = list(live.transcribe_stream(np.array_split(audio, 7), Endpoint(1e9, 1e9, 1e9)))
    assert " ".join(event.stable for event in events if event.type == "final") == expected
    assert expected


def test_streaming_of_a_bidirectional_model_is_refused(tmp_path):
    save_model(small(blocks=1), tmp_path / "model.safetensors")
    trained = Trained(tmp_path / "model.safetensors", tmp_path / "c", tmp_path / "tokenizer.model", "x", synthetic=True)
    with pytest.raises(VelocityError, match=r"cannot stream; train one with model\.direction: causal"):
        export_target(FLOAT, trained, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
