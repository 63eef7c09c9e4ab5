"""The Core ML artefacts: what the saved program computes beside PyTorch, the integers in it, and its bytes."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.model.test_asr import small
from velocity.artefacts.coreml_interpreter import MilProgram
from velocity.artefacts.coreml_package import MODEL, WEIGHTS, Package, import_coremltools
from velocity.artefacts.coreml_program import FEATURES, MOST_FRAMES, export_coreml, quantize_package
from velocity.artefacts.target import HALF
from velocity.artefacts.targets.coreml import PACKAGE
from velocity.errors import VelocityError
from velocity.evaluation.parity import compare, torch_reference, verdict
from velocity.model.asr import load_model
from velocity.quantization.linear import quantize_linears, quantized_layers, set_mode

pytest.importorskip("coremltools")
ROOT = Path(__file__).parents[2]
FRAMES = [1, 2, 3, 33, 300, 2999, MOST_FRAMES]
EXPORT = """
import sys
from pathlib import Path
from velocity.artefacts.coreml_program import export_coreml
from velocity.model.asr import load_model
package = export_coreml(load_model(sys.argv[1]))
package.describe({}, {name: "" for name in ("mel_spectrogram", "log_probs", "lengths")}, {})
package.write(Path(sys.argv[2]))
import importlib.util
assert "tensorflow" not in sys.modules and "sklearn" not in sys.modules
assert importlib.util.find_spec("sklearn"), "it may be imported afterwards"
"""


def in_16_bits(model: nn.Module) -> nn.Module:
    """With weights that 16 bits hold."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


def mel(frames: int) -> np.ndarray:
    return np.random.default_rng(frames).standard_normal((1, frames, 80)).astype(np.float32)


def expected(model: nn.Module, features: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(features))[0].numpy()


@pytest.fixture(scope="module")
def model(quantized) -> nn.Module:
    """It computes in floating point and knows the integers."""
    set_mode(quantized, "observe")
    return quantized


@pytest.fixture(scope="module")
def packages(artefact) -> dict[str, Path]:
    return {"half": artefact("coreml") / PACKAGE, "int8": artefact("coreml-int8") / PACKAGE}


@pytest.mark.parametrize("frames", FRAMES)
def test_the_program_is_the_model_at_any_length(model, packages, frames):
    features, package = mel(frames), packages["half"]
    reference = expected(model, features)
    exact = MilProgram(package, rounded=False).run(mel_spectrogram=features)
    assert exact["log_probs"].shape == reference.shape
    assert exact["lengths"].tolist() == [reference.shape[1]]
    assert np.abs(exact["log_probs"] - reference).max() <= 2e-3  # 16-bit feature statistics and constants
    assert np.abs(MilProgram(package)(features) - reference).max() <= 0.03, "16 bits lose as much at any length"


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"direction": "causal"}, {"context": "fixed", "stride": 4, "head_rank": 4}])
def test_every_form_of_the_model_is_exported(change, tmp_path):
    model = in_16_bits(small(blocks=1, **change))
    export_coreml(model).write(tmp_path / PACKAGE)
    program = MilProgram(tmp_path / PACKAGE, rounded=False)
    for frames in (1, 70, 1111):
        assert np.abs(program(mel(frames)) - expected(model, mel(frames))).max() <= 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(("skip", "gate"), [(2e4, 10.0), (6e4, 0.2)])
def test_what_a_norm_levels_may_be_larger_than_16_bits_hold(skip, gate, tmp_path):
    """A trained model had 970,000 in front of a norm. Here a wide gate makes it 300,000, or it is as much in front of a
    nearly closed one."""
    torch.manual_seed(0)
    model = in_16_bits(small().eval())
    mixer = model.context.layers[0].ssm
    levelled = []
    mixer.norm.register_forward_pre_hook(lambda module, inputs: levelled.append(inputs[0].abs().max().item()))
    with torch.no_grad():
        mixer.skip.fill_(skip)
        mixer.input.weight[: mixer.inner] = 0.0
        mixer.input.bias[: mixer.inner] = gate
    export_coreml(model).write(tmp_path / PACKAGE)
    features = mel(300)
    reference = expected(model, features)
    assert max(levelled) / min(gate * torch.sigmoid(torch.tensor(gate)).item(), 1) > 65_504
    assert np.abs(MilProgram(tmp_path / PACKAGE)(features) - reference).max() < 0.2


def test_int8_holds_the_trained_integers(model, packages):
    """As coremltools reads them."""
    ct = import_coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    package = ct.models.MLModel(str(packages["int8"]), skip_model_load=True)
    program = load(package.get_spec(), package.get_spec().specificationVersion, package.weights_dir)
    found = [op for op in program.functions["main"].operations if op.op_type == "constexpr_affine_dequantize"]
    layers = {layer.integer_weight()[0].numpy().tobytes(): layer for layer in quantized_layers(model).values()}
    assert len(found) == len(layers)
    for operation in found:
        layer = layers.pop(operation.quantized_data.val.tobytes())
        assert operation.quantized_data.val.shape == tuple(layer.weight.shape)
        assert (operation.scale.val == layer.integer_weight()[1].numpy().astype(np.float16)).all()
        assert (int(operation.axis.val), int(operation.zero_point.val)) == (0, 0)
    assert package.user_defined_metadata.keys() & {"com.github.apple.coremltools.conversion_date"} == set()
    assert (package.author, package.license) == ("VELOCITY-ASR", "CC0-1.0")
    assert all(package.input_description[name] for name in package.input_description)


def test_int8_computes_with_the_trained_integers(model, packages):
    weights_alone = copy.deepcopy(model)
    with torch.no_grad():
        for layer in quantized_layers(weights_alone).values():
            integers, scale = layer.integer_weight()
            layer.weight.copy_(integers * scale.half().float().unsqueeze(1))
    program = MilProgram(packages["int8"], rounded=False)
    reference = expected(weights_alone, mel(300))
    assert np.abs(program(mel(300)) - reference).max() <= 5e-3
    assert np.abs(expected(model, mel(300)) - reference).max() > 5e-3, "the integers would not show"
    sizes = [(packages[name] / WEIGHTS).stat().st_size for name in ("half", "int8")]
    assert sizes[1] < sizes[0]


def test_one_changed_weight_fails_parity(model, packages, tmp_path):
    """The largest of the head, turned round, in the file of the weights."""
    speech = [np.random.default_rng(seconds).normal(0, 0.1, 16000 * seconds).astype(np.float32) for seconds in (1, 3)]
    reference = torch_reference(model)
    words = {"wer_difference": 0.0}
    assert verdict(compare(reference, MilProgram(packages["half"]), speech) | words, HALF)["passed"]
    package = Package.read(packages["half"])
    weight = model.head.weight.detach().numpy().astype(np.float16)
    place = package.weights.index(weight.tobytes()) + 2 * int(np.abs(weight).argmax())
    value = -64 * np.frombuffer(package.weights[place : place + 2], np.float16)
    package.weights = package.weights[:place] + value.astype(np.float16).tobytes() + package.weights[place + 2 :]
    package.write(tmp_path / PACKAGE)
    failed = verdict(compare(reference, MilProgram(tmp_path / PACKAGE), speech) | words, HALF)["failed"]
    assert failed[0].startswith("log-posteriors off by ")


def test_a_package_of_other_weights_is_not_quantised(packages):
    other = quantize_linears(small(blocks=1, ffn=16))
    with pytest.raises(VelocityError, match=r"no weight of blocks\.0\.feed_forward"):
        quantize_package(Package.read(packages["half"]), other)


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(trained, tmp_path):
    source = trained.weights
    own = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    made = [sys.executable, "-W", "ignore", "-c", EXPORT, str(source), str(tmp_path / PACKAGE)]
    done = subprocess.run(made, env=os.environ | own, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    again = export_coreml(load_model(source))
    again.describe({}, dict.fromkeys(FEATURES, ""), {})
    again.write(tmp_path / "here")

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(tmp_path / PACKAGE) == contents(tmp_path / "here")
    manifest = json.loads((tmp_path / PACKAGE / "Manifest.json").read_text())
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]


@pytest.mark.parametrize("fault", [b"", b"junk"])
def test_broken_packages_are_named(packages, tmp_path, fault):
    Package.read(packages["half"]).write(tmp_path / PACKAGE)
    (tmp_path / PACKAGE / WEIGHTS).write_bytes(fault)
    with pytest.raises(VelocityError, match="not the weights of this program"):
        MilProgram(tmp_path / PACKAGE)
    (tmp_path / PACKAGE / MODEL).write_bytes(b"\xff" + fault)
    with pytest.raises(VelocityError, match=r"model\.mlpackage: not a Core ML package"):
        MilProgram(tmp_path / PACKAGE)


def test_the_note_matches_the_package(artefact):
    """Names, shapes and types; and the code calls nothing by another name."""
    note = (artefact("coreml-int8") / "README.md").read_text()
    description = Package.read(artefact("coreml-int8") / PACKAGE).spec.description
    (given,), outputs = description.input, list(description.output)
    sizes = [(each.lowerBound, each.upperBound) for each in given.type.multiArrayType.shapeRange.sizeRanges]
    assert sizes == [(1, 1), (1, MOST_FRAMES), (80, 80)]
    kinds = {65568: "float32", 131104: "int32"}  # ArrayFeatureType.ArrayDataType
    assert f"| input | `{given.name}` | (1, frames, 80) | {kinds[given.type.multiArrayType.dataType]} |" in note
    for index, (output, shape) in enumerate(zip(outputs, ("(1, frames out, 30)", "(1)"), strict=True)):
        row = f"| output {index} | `{output.name}` | {shape} | {kinds[output.type.multiArrayType.dataType]} |"
        assert row in note
    assert set(re.findall(r'featureValue\(for: "(\w+)"\)', note)) == {output.name for output in outputs}
    assert f'["{given.name}": MLFeatureValue(multiArray: input)]' in note
    assert f"{MOST_FRAMES} frames at most" in note
    vocabulary = json.loads((artefact("coreml-int8") / "vocabulary.json").read_text())
    assert len(vocabulary) == 30
    assert vocabulary[0] == ""
