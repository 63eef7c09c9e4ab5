"""Artefacts of the reference configuration with random weights: size and speed do not hang on what was learned.

    python benchmarks/reference_artefact.py FOLDER
    velocity-asr benchmark --model FOLDER/onnx-int8
    python benchmarks/length_scaling.py FOLDER/onnx-int8

Never transcribe with them: they have learned nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from velocity.stages import keep_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--direction", choices=["bidirectional", "causal"], default="bidirectional")
    parser.add_argument("--stride", type=int, choices=[2, 4], default=2)
    options = parser.parse_args()

    keep_memory()
    import torch

    from velocity.artefacts.target import export_target
    from velocity.artefacts.trained import folder_model
    from velocity.config.model import ModelConfig
    from velocity.config.reader import default_section, read_params
    from velocity.files import write_json
    from velocity.model.asr import VelocityModel, save_model
    from velocity.quantization.linear import quantize_linears, quantized_layers
    from velocity.text import train_tokenizer

    torch.manual_seed(0)
    weights = options.folder / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer([], "characters", 0, weights / "tokenizer.model")
    changes = {"direction": options.direction, "stride": options.stride, "vocabulary": tokenizer.vocabulary}
    config = default_section("model", ModelConfig, **read_params("profiles/reference.yaml")["model"], **changes)
    model = quantize_linears(VelocityModel(config)).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(2, 500, 80))
    save_model(model, weights / "model.safetensors")
    ranges = {
        name: dict(zip(("low", "high"), layer.range.tolist(), strict=True))
        for name, layer in quantized_layers(model).items()
    }
    write_json(weights / "calibration.json", {"layers": ranges})
    export_target("onnx", folder_model(weights), options.folder / "onnx")
    export_target("onnx-int8", folder_model(weights), options.folder / "onnx-int8", options.folder / "onnx")
    print(f"{model.parameter_count():,} parameters")
    for target in ("onnx", "onnx-int8"):
        print(f"{target}: {(options.folder / target / 'model.onnx').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
