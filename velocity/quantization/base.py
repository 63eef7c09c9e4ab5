"""A released model as the start of a training: weights and ranges in floating point, from its artefact ``onnx-int8``.

The graph keeps PyTorch's names. Linear layers are integers (in, out) with a scale for each output channel, and the
grid of their input tells the range that was trained; convolutions have an axis of length 1 more; all else is as it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from velocity.config.model import ModelConfig
from velocity.config.reader import parse
from velocity.errors import VelocityError
from velocity.model.asr import VelocityModel
from velocity.quantization.linear import ACTIVATION_HIGH, ACTIVATION_LOW, quantize_linears

# Of the configuration: they fit any weights. A head for phones that the base lacks starts as it was drawn, and one that
# only the base has is left behind.
FREE = ("dropout", "chunk", "context_window", "phones")


class Base(NamedTuple):
    folder: Path
    config: ModelConfig
    state: dict[str, Tensor]  # of a model with quantised layers: their ``range`` is among it


def read_base(folder: str | Path) -> Base:
    """The model of the artefact in ``folder``; its weights are exactly those that the artefact computes with.

    Raises VelocityError when there is no graph, and for an artefact of another kind or of another version's network.
    """
    folder = Path(folder)
    advice = "only an onnx-int8 model of this version of velocity-asr can be trained further"
    try:
        described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = parse(ModelConfig, described["model"], f"{folder / 'config.json'}", "model")
    except OSError as error:
        raise VelocityError(f"{folder}: no model ({error.filename}: {error.strerror.lower()})") from error
    except (ValueError, KeyError, TypeError, VelocityError) as error:
        raise VelocityError(f"{folder}: made by another version, so it cannot be adapted; {advice}") from error
    if "streaming" in described:
        raise VelocityError(f"{folder}: a model for live audio cannot be adapted; {advice}")
    tensors, state = _constants(folder / "model.onnx"), {}
    for name, expected in quantize_linears(VelocityModel(config)).state_dict().items():
        try:
            state[name] = torch.from_numpy(_value(name, tensors).reshape(expected.shape).copy())
        except (KeyError, ValueError) as error:
            raise VelocityError(f"{folder}: its graph has no {name}, so it cannot be adapted; {advice}") from error
    return Base(folder, config, state)


def _constants(path: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    if not path.is_file():
        raise VelocityError(f"{path.parent}: has no model.onnx, so there are no weights to adapt")
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's, whose classes are not public
        raise VelocityError(f"{path}: not an ONNX model") from error
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _value(name: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
    layer, _, part = name.rpartition(".")
    if part == "range":
        ends = np.array([ACTIVATION_LOW, ACTIVATION_HIGH]) - float(tensors[f"{layer}.input_zero"])
        return (ends * tensors[f"{layer}.input_scale"]).astype(np.float32)
    if f"{name}_scale" in tensors:
        return tensors[name].T.astype(np.float32) * tensors[f"{name}_scale"][:, None]
    value = tensors[name]
    return value.astype(np.float32) if value.dtype == np.float16 else value


def causal(base: Base) -> Base:
    """A bidirectional ``base`` as the start of a causal model; a causal one as it is.

    Of each convolution, the taps on the past and the present stay. The heads that ran backwards in time run forwards,
    with the B and C of the others: the causal model has to learn what to use them for.
    """
    if base.config.direction == "causal":
        return base
    config, state = replace(base.config, direction="causal"), dict(base.state)
    for name in [name.removesuffix(".log_rate") for name in state if name.endswith(".log_rate")]:
        taps = state[f"{name}.conv.weight"]  # (dim, 1, kernel), the present at kernel // 2
        past = taps[..., : config.conv_kernel // 2 + 1]
        state[f"{name}.conv.weight"] = torch.nn.functional.pad(past, (taps.size(-1) - past.size(-1), 0))
        size = config.context_state if name.startswith("context.") else config.state
        for part in ("weight", "bias"):
            rows = state[f"{name}.input.{part}"]  # of gate and x, of B and C for both directions, of the steps
            gate_and_x, B, _, C, _, steps = rows.split([2 * config.inner, size, size, size, size, config.heads])
            state[f"{name}.input.{part}"] = torch.cat([gate_and_x, B, C, steps])
    return Base(base.folder, config, state)


def load_base(model: VelocityModel, base: Base) -> None:
    """Give ``model`` the weights and feature statistics of ``base``, and the ranges if its layers are quantised.

    Raises VelocityError, naming a key of the section ``model``, when the two are different networks.
    """
    ours, theirs = (
        asdict(model.config),
        asdict(replace(base.config, **{key: getattr(model.config, key) for key in FREE})),
    )
    if wrong := [key for key in ours if ours[key] != theirs[key]]:
        key = wrong[0]
        raise VelocityError(f"finetune.base: model.{key} is {ours[key]}, but {theirs[key]} in {base.folder}")
    known = model.state_dict().keys()
    model.load_state_dict({name: value for name, value in base.state.items() if name in known}, strict=False)


@torch.no_grad()
def average_with(model: VelocityModel, base: Base, share: float) -> None:
    """Every weight and range becomes base + share · (trained − base): what is new is learned, what was known is kept.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (CVPR), section 3. ``share`` 1 changes nothing.
    """
    for name, tensor in model.state_dict().items():
        if name in base.state:
            tensor.lerp_(base.state[name].to(tensor.device), 1 - share)
