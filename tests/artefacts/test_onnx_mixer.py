"""The hand-written graph of the selective SSM against PyTorch's, without the exporter in between."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from velocity.artefacts.onnx_mixer import DOMAIN, expand_mixers
from velocity.model.block import SelectiveSSM

DIM, INNER, HEAD, STATE = 12, 32, 8, 6


def mixer_graph(ssm: SelectiveSSM, chunk: int) -> bytes:
    inside = {"step_bias": ssm.step_bias, "log_rate": ssm.log_rate, "skip": ssm.skip}
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", "l", size])
        for name, size in (("projected", ssm.input.out_features), ("mask", 1), ("y", INNER))
    ]
    sizes = {"heads": ssm.heads, "head_dim": HEAD, "state": STATE, "groups": ssm.groups}
    node = helper.make_node("Mixer", ["projected", "mask", *inside], ["y"], domain=DOMAIN, **sizes)
    constants = [numpy_helper.from_array(value.detach().numpy(), name) for name, value in inside.items()]
    graph = helper.make_graph([node], "g", ends[:2], ends[2:], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    expand_mixers(proto, chunk)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


@pytest.mark.parametrize("chunk", [8, 64])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_computes_what_the_layer_does(bidirectional, chunk):
    torch.manual_seed(0)
    ssm = SelectiveSSM(DIM, INNER, HEAD, STATE, 4, 16, bidirectional)
    with torch.no_grad():
        ssm.skip.normal_()
        ssm.step_bias += 3 * torch.randn(ssm.heads)  # decays that forget in a frame, and that keep for the whole
    session = onnxruntime.InferenceSession(mixer_graph(ssm, chunk), providers=["CPUExecutionProvider"])
    before, after = [], []
    ssm.input.register_forward_hook(lambda layer, inputs, output: before.append(output))
    ssm.norm.register_forward_pre_hook(lambda layer, inputs: after.append(inputs[0]))
    for batch, length in ((1, 1), (2, 3), (1, 8), (2, 65), (1, 200)):
        u, mask = 2 * torch.randn(batch, length, DIM), torch.ones(batch, length, 1)
        with torch.no_grad():
            ssm(u, mask)
        (found,) = session.run(None, {"projected": before.pop().numpy(), "mask": mask.numpy()})
        expected = after.pop().numpy()
        assert np.abs(found - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


def test_steps_too_small_for_a_logarithm_leave_the_state_alone():
    """softplus gives zero far below, as for frames that fill the last chunk."""
    ssm = SelectiveSSM(DIM, INNER, HEAD, STATE, 4, 16, True)
    with torch.no_grad():
        ssm.step_bias.fill_(-200.0)
    session = onnxruntime.InferenceSession(mixer_graph(ssm, 8), providers=["CPUExecutionProvider"])
    projected = torch.randn(1, 30, ssm.input.out_features).numpy()
    (found,) = session.run(None, {"projected": projected, "mask": np.ones((1, 30, 1), np.float32)})
    assert np.isfinite(found).all()
