"""Artefacts of 4 and 2 bits: onnxruntime, PyTorch and the operator's definition in NumPy give the same."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tests.model.test_asr import small
from velocity.artefacts.low_bit_graph import low_bit_graph
from velocity.artefacts.onnx_graph import export_onnx
from velocity.errors import VelocityError
from velocity.model.asr import load_model, save_model
from velocity.quantization.low_bits import load_low_bits


class MatMulNBits(OpRun):
    """As onnxruntime's documentation of contributed operators defines it, for weights of 2 and 4 bits."""

    op_domain = "com.microsoft"

    def _run(self, x, packed, scales, zeros=None, *, K, N, bits, block_size, **_):
        places = np.arange(0, 8, bits)
        codes = (packed[..., None] >> places & (2**bits - 1)).reshape(N, -1, block_size)  # lowest bits first
        zeros = np.full(scales.shape, 2 ** (bits - 1)) if zeros is None else zeros
        weight = (codes - zeros.reshape(N, -1, 1)) * scales.reshape(N, -1, 1)
        return ((x @ weight.reshape(N, -1)[:, :K].T).astype(np.float32),)


class MaxPool(OpRun):
    """The reference evaluator's own takes the padding of the last axis for that of the one before."""

    def _run(self, x, kernel_shape=None, pads=None, **_):
        wide = np.pad(x, ((0, 0), (0, 0), (0, 0), (pads[1], pads[3])), constant_values=-np.inf)
        return (np.lib.stride_tricks.sliding_window_view(wide, kernel_shape[1], -1).max(-1),)


class GatherElements(OpRun):
    """ONNX's own one takes no more than 64 rows."""

    def _run(self, data, indices, axis=0):
        return (np.take_along_axis(data, indices, axis),)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Weights on disk and their floating-point graph; a head of rank 4 is narrower than any block of weights."""
    model = small(blocks=1, head_rank=4, ffn=96)
    for parameter in model.parameters():  # biases and norms begin as zeros and ones
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() == 1 and len(parameter) > 4 else None
    weights = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_model(model, weights)
    return weights, export_onnx(load_model(weights))


@pytest.fixture(scope="module", params=[4, 2])
def artefact(request, traced):
    weights, graph = traced
    return request.param, weights, low_bit_graph(copy.deepcopy(graph), load_model(weights), request.param)


def run(proto: onnx.ModelProto, mel: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["log_probs", "lengths"], {"mel_spectrogram": mel})


@pytest.mark.parametrize("shape", [(1, 1), (2, 33), (1, 700)])
def test_the_artefact_is_pytorchs_model_of_as_many_bits(artefact, shape):
    bits, weights, proto = artefact
    mel = torch.from_numpy(np.random.default_rng(0).standard_normal((*shape, 80)).astype(np.float32))
    with torch.no_grad():
        expected, lengths = load_low_bits(weights, bits)(mel)
        exact, _ = load_model(weights)(mel)
    log_probs, found = run(proto, mel.numpy())
    assert np.abs(log_probs - expected.numpy()).max() <= 1e-3
    assert (log_probs.argmax(-1) == expected.numpy().argmax(-1)).mean() >= 0.999
    assert found.tolist() == lengths.tolist()
    assert np.abs(log_probs - exact.numpy()).max() > 0.001  # it is not the floating-point model


def test_the_artefact_is_what_its_operators_are_defined_to_compute(artefact):
    proto = artefact[2]
    mel = np.random.default_rng(1).standard_normal((1, 60, 80)).astype(np.float32)
    (expected,) = ReferenceEvaluator(proto, new_ops=[MatMulNBits, GatherElements, MaxPool]).run(
        ["log_probs"], {"mel_spectrogram": mel}
    )
    assert np.abs(run(proto, mel)[0] - expected).max() <= 1e-3


def test_a_weight_takes_its_bits(traced):
    weights, graph = traced
    sizes = {bits: low_bit_graph(copy.deepcopy(graph), load_model(weights), bits).ByteSize() for bits in (4, 2)}
    layers = [module for module in load_model(weights).modules() if isinstance(module, torch.nn.Linear)]
    padded = sum(-(-layer.in_features // 16) * 16 * layer.out_features for layer in layers)
    assert 0.9 * padded / 4 < sizes[4] - sizes[2] < 1.02 * padded / 4


def test_the_same_weights_give_the_same_bytes_and_names_are_short(artefact, traced):
    bits, weights, proto = artefact
    again = low_bit_graph(copy.deepcopy(traced[1]), load_model(weights), bits)
    assert again.SerializeToString(deterministic=True) == proto.SerializeToString(deterministic=True)
    inside = {name for node in proto.graph.node for name in node.output} - {"log_probs", "lengths"}
    assert max(map(len, inside)) <= 3


def test_a_graph_of_other_weights_is_refused(traced):
    with pytest.raises(VelocityError, match="no product with the weight of"):
        low_bit_graph(copy.deepcopy(traced[1]), small(blocks=1, head_rank=4, ffn=64), 2)
