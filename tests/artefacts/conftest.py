"""One tiny trained model and one artefact of each target for all tests in a run."""

import pytest
import torch

from tests.model.test_asr import small
from velocity.artefacts.target import export_target, targets
from velocity.artefacts.trained import folder_model
from velocity.files import write_json
from velocity.model.asr import load_model, save_model
from velocity.quantization.calibration import load_quantized
from velocity.quantization.linear import quantize_linears, quantized_layers
from velocity.text import train_tokenizer

DESCRIBED = {"name": "a-toy", "synthetic": True, "licence": "CC0-1.0"}


def write_trained(folder, direction="bidirectional", **changes):
    """A folder of weights that 16 bits hold, with the ranges of quantisation-aware training."""
    folder.mkdir(parents=True, exist_ok=True)
    model = small(direction, blocks=1, vocabulary=30, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
        torch.manual_seed(0)
        model = quantize_linears(model).train()
        for _ in range(3):
            model(torch.randn(2, 200, 80))
    save_model(model, folder / "model.safetensors")
    train_tokenizer([], "characters", 30, folder / "tokenizer.model")
    ranges = {
        name: dict(zip(("low", "high"), layer.activation_range(), strict=True))
        for name, layer in quantized_layers(model).items()
    }
    write_json(folder / "calibration.json", {"layers": ranges})
    write_json(folder / "config.json", DESCRIBED)
    return folder_model(folder)


def exporter(trained, root):
    def export(name):
        if not (root / name).is_dir():
            source = targets()[name].made_from
            export_target(name, trained, root / name, export(source) if source else None)
        return root / name

    return export


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    return write_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def artefact(trained, tmp_path_factory):
    """``artefact(target)``: its folder, exported when it is first asked for, from the artefact that it is made from."""
    return exporter(trained, tmp_path_factory.mktemp("artefacts"))


@pytest.fixture(scope="module")
def floating(trained):
    """The model in PyTorch."""
    return load_model(trained.weights)


@pytest.fixture(scope="module")
def quantized(trained):
    """The same as quantisation-aware training left it: it computes with the integers."""
    return load_quantized(trained.weights, trained.calibration)
