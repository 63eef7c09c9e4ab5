"""A tiny released model of the project's own network, whose weights all differ."""

from pathlib import Path

import torch

from tests.model.test_asr import small
from velocity.artefacts.target import export_target
from velocity.artefacts.trained import folder_model
from velocity.files import write_json
from velocity.model.asr import save_model
from velocity.quantization.linear import quantize_linears, quantized_layers
from velocity.text import train_tokenizer


def release(folder: Path) -> Path:
    """``folder`` with ``model.safetensors``, ``calibration.json``, ``tokenizer.model``; the artefact in ``model/``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = small(blocks=1, half_rate=0, vocabulary=30)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():  # equal constants would be kept once in the graph
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
        model.set_feature_statistics(torch.randn(80, generator=random).tolist(), [1.5 + i / 80 for i in range(80)])
        model = quantize_linears(model).train()
        for _ in range(3):
            model(torch.randn(2, 200, 80, generator=random))
    save_model(model, folder / "model.safetensors")
    train_tokenizer([], "characters", 30, folder / "tokenizer.model")
    layers = {
        name: dict(zip(("low", "high"), layer.activation_range(), strict=True))
        for name, layer in quantized_layers(model).items()
    }
    write_json(folder / "calibration.json", {"layers": layers})
    write_json(folder / "config.json", {"name": "a-toy", "synthetic": True, "licence": "CC0-1.0"})
    export_target("onnx-int8", folder_model(folder), folder / "model")
    return folder
