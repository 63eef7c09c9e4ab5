"""The artefacts against PyTorch, at lengths the exporter has not seen."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.model.test_asr import SMALL, small
from velocity.artefacts.onnx_graph import export_onnx
from velocity.artefacts.onnx_int8 import quantize_graph
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel
from velocity.quantization.linear import QuantizedLinear, quantize_linears, quantized_layers

SHAPES = [(1, 1), (1, 2), (1, 19), (2, 33), (3, 300), (1, 1111), (2, 2600)]  # batch, frames


def run(path, mel: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["log_probs", "lengths"], {"mel_spectrogram": mel.numpy()})


def optimised(path, folder) -> onnx.GraphProto:
    """The graph that onnxruntime makes of ``path`` and runs."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx").graph


KINDS = {
    "bidirectional": {},
    "causal": {"direction": "causal"},
    "fixed context, large head": {"context": "fixed", "head_classes": 40, "head_rank": 4},
}


@pytest.fixture(scope="module", params=KINDS)
def exported(request, artefact, floating, tmp_path_factory):
    if request.param == "bidirectional":
        return floating, artefact("onnx") / "model.onnx"
    model = small(blocks=1, **KINDS[request.param])
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(export_onnx(model), path)
    return model, path


@pytest.mark.parametrize("shape", SHAPES)
def test_floating_point_artefact_is_the_model(exported, shape):
    model, path = exported
    mel = torch.randn(*shape, 80)
    with torch.no_grad():
        expected, lengths = model(mel)
    log_probs, output_lengths = run(path, mel)
    assert np.abs(log_probs - expected.numpy()).max() <= 1e-4
    assert output_lengths.tolist() == lengths.tolist()


def test_the_artefact_tells_nothing_of_where_it_was_made(exported):
    content = exported[1].read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content
    assert onnx.load_from_string(content).opset_import[0].version >= 18


def test_onnxruntime_finds_what_it_has_fast_code_for(exported, tmp_path):
    """One operator for GELU, and convolutions of images, whose layout is turned by no node that stays."""
    graph = optimised(exported[1], tmp_path)
    used = Counter(node.op_type for node in graph.node)
    assert used["Erf"] == 0
    assert used["Gelu"] + used["BiasGelu"] == 2
    makers = {name: node for node in onnx.load(exported[1]).graph.node for name in node.output}
    convolutions = [node for node in makers.values() if node.op_type == "Conv"]
    assert len(convolutions) >= 2
    for node in convolutions:
        turn = makers[node.input[0]]
        assert (turn.op_type, list(turn.attribute[0].ints)) == ("Transpose", [0, 3, 1, 2])
        assert makers[turn.input[0]].op_type == "Unsqueeze"


def test_int8_artefact_holds_integers_with_the_trained_scales(quantized, artefact):
    graph = onnx.load(artefact("onnx-int8") / "model.onnx").graph
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    layers = quantized_layers(quantized).values()
    producers = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    assert len(producers) == len(layers)
    expected = {round(layer.activation_grid()[0].item(), 9) for layer in layers}
    found = {round(float(tensors[n.input[1]]), 9) for n in graph.node if n.op_type == "QuantizeLinear"}
    assert found == expected
    for node in producers:
        assert tensors[node.input[0]].dtype == np.int8
    floats = [item for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT]
    big = [item for item in floats if np.prod(item.dims) >= 32 * 32]
    assert all("conv" in item.name for item in big), "a weight matrix is left in floating point"


def test_integers_of_other_weights_are_refused(artefact):
    with pytest.raises(VelocityError, match="no product with the weight of"):
        quantize_graph(
            onnx.load(artefact("onnx") / "model.onnx"), quantize_linears(VelocityModel(replace(SMALL, blocks=1)))
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_artefact_computes_what_training_saw(quantized, floating, artefact, shape):
    mel = torch.randn(*shape, 80)
    with torch.no_grad():
        expected, exact = quantized(mel)[0], floating(mel)[0]
    error = np.abs(run(artefact("onnx-int8") / "model.onnx", mel)[0] - expected.numpy())
    # Sums in another order move a value across a rounding border here and there: far below quantisation's own error.
    assert error.mean() <= 0.25 * (exact - expected).abs().mean() + 1e-6


def test_onnxruntime_multiplies_integers(quantized, artefact, tmp_path):
    """Every linear layer is one integer product in the graph that runs, and none is left to floating point."""
    graph = optimised(artefact("onnx-int8") / "model.onnx", tmp_path)
    used = Counter(node.op_type for node in graph.node)
    assert used["MatMulIntegerToFloat"] == len(quantized_layers(quantized))
    assert used["DequantizeLinear"] == 0


def test_no_pair_of_products_saturates(artefact):
    """On x86 without VNNI two products are added in 16 bits: 2 · 255 · 63 fits, whatever the input."""
    proto = onnx.load(artefact("onnx-int8") / "model.onnx")
    kept = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2]
    assert kept
    assert max(np.abs(onnx.numpy_helper.to_array(tensor)).max() for tensor in kept) == 63


@pytest.mark.parametrize("seed", range(3))
def test_the_integer_product_of_this_processor_is_exact(seed):
    """Without VNNI, x86 adds pairs of products in 16 bits that saturate, and weights beyond ±63 would be cut."""
    random = np.random.default_rng(seed)
    weight = random.integers(-63, 64, (16, 64)).astype(np.float32)  # out, in
    weight[:, 0] = weight[0] = 63  # every channel's scale is 1, and one has the largest sums
    layer = QuantizedLinear(torch.nn.Linear(64, 16, bias=False))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
    layer.set_activation_range(-2.0, 1.984375)
    integers, weight_scale = (value.detach().numpy() for value in layer.integer_weight())
    scale, zero = (value.detach().numpy() for value in layer.activation_grid())
    codes = random.integers(-128, 128, (50, 64))
    codes[0], codes[1] = 127, -128
    product = (codes - int(zero)) @ integers.T.astype(np.int64)
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, size])
        for name, size in (("x", 64), ("y", 16))
    ]
    constant = onnx.numpy_helper.from_array(np.ascontiguousarray(weight.T), "W")
    nodes = [onnx.helper.make_node("MatMul", ["x", "W"], ["y"], "product")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], [constant])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    proto = quantize_graph(proto, torch.nn.Sequential(layer))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": ((codes - int(zero)) * scale).astype(np.float32)})
    assert np.array_equal(np.rint(found / (scale * weight_scale)), product)
