"""Fine-tuning, calibration, export and evaluation in a row: quantisation after training, and learned ranges."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from ruamel.yaml import YAML
from safetensors.torch import load

from tests.training.tones import statistics, tone_cuts
from velocity.artefacts.target import export_target
from velocity.artefacts.trained import project_model
from velocity.config.model import ModelConfig
from velocity.config.reader import load_section
from velocity.data.manifests import to_line, write_lines
from velocity.errors import VelocityError
from velocity.quantization import linear
from velocity.quantization.base import read_base
from velocity.stages import calibrate, evaluate, finetune
from velocity.stages.inputs import fresh_model
from velocity.text import train_tokenizer

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A prepared project of tones and a model of one block."""
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "data/prepared"
    prepared.mkdir(parents=True)
    cuts = tone_cuts(tmp_path, 12)
    lines = [to_line(cut.to_dict()) for cut in cuts]
    for name in ("train", "validation", "test-tones"):
        write_lines(prepared / f"{name}.jsonl", lines)
    (prepared / "features.json").write_text(json.dumps(statistics(cuts)))
    train_tokenizer(["a"], "characters", 0, prepared / "tokenizer.model")
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    set_params(finetune={"start_from": "random", "qat": False}, calibrate={"ranges": "entropy", "utterances": 8})
    return tmp_path


def set_params(finetune: dict, calibrate: dict, **model: bool) -> None:
    yaml = YAML()
    params = yaml.load(Path("params.yaml"))
    params["model"].update(dim=32, blocks=1, half_rate=1, state=8, head_dim=16, ffn=32)
    params["model"].update(context_layers=1, context_state=8, attention_heads=2, attention_head_dim=8, **model)
    params["finetune"].update(finetune)
    params["finetune"]["optimisation"].update(devices=1, steps=4, checkpoint_every=2, validate_every=4, batch_seconds=8)
    params["calibrate"].update(calibrate)
    params["evaluate"].update(bootstrap=20)
    yaml.dump(params, Path("params.yaml"))


@pytest.mark.slow
def test_post_training_quantisation_goes_through_every_stage(project):
    finetune.main()
    set_params({}, {"ranges": "trained"})
    with pytest.raises(VelocityError, match=r"calibrate\.ranges: 'trained' needs finetune\.qat: true; use minmax"):
        calibrate.main()
    set_params({}, {"ranges": "entropy"})
    calibrate.main()
    written = Path("models/calibration.json").read_bytes()
    calibration = json.loads(written)
    assert calibration["ranges"] == "entropy"
    assert set(calibration["compared"]) == {"minmax", "percentile", "entropy"}
    for figures in calibration["compared"].values():
        assert figures["same_best_class_percent"] > 80
        assert figures["wer"] >= 0
    calibrate.main()
    assert Path("models/calibration.json").read_bytes() == written

    for target, source in (("onnx", None), ("onnx-int8", Path("models/export/onnx"))):
        export_target(target, project_model(), Path("models/export", target), source)
    evaluate.main()
    parity = json.loads(Path("reports/metrics.json").read_text())["parity"]
    for artefact in ("onnx", "onnx-int8"):
        assert parity[artefact]["argmax_agreement"] >= 0.98
        assert parity[artefact]["decoded"] == 12
        assert parity[artefact]["passed"] == (not parity[artefact]["failed"])
    assert parity["onnx"]["passed"]


def test_learned_ranges_are_trained_and_calibrated(project):
    set_params({"qat": True, "qat_start": 0.5, "activation_ranges": "learned"}, {"ranges": "trained"})
    finetune.main()
    once = Path("models/finetuned.safetensors").read_bytes()
    calibrate.main()
    calibration = json.loads(Path("models/calibration.json").read_text())
    assert set(calibration["compared"]) == {"trained", "minmax", "percentile", "entropy"}
    tensors = load(once)
    stretched = [tensor for name, tensor in tensors.items() if name.endswith(".stretch")]
    assert len(stretched) == len(calibration["layers"])
    assert any(tensor.abs().max() > 0 for tensor in stretched)
    low, high = (tensors["head.range"] * tensors["head.stretch"].exp()).tolist()
    assert calibration["layers"]["head"]["low"] == pytest.approx(low)
    assert calibration["layers"]["head"]["high"] == pytest.approx(high)
    assert json.loads(Path("reports/finetune.json").read_text())["parameters"] == sum(
        tensor.numel()
        for name, tensor in tensors.items()
        if not name.endswith((".range", ".stretch", "feature_mean", "feature_std"))
    )


@pytest.mark.parametrize(
    "settings", [{"activation_ranges": "learned"}, {"weight_bits": 2}], ids=["learned ranges", "two bits"]
)
def test_a_killed_training_ends_in_the_same_bytes(settings, project, monkeypatch):
    set_params({"qat": True, "qat_start": 0.25} | settings, {"ranges": "trained"})
    finetune.main()
    undisturbed = Path("models/finetuned.safetensors").read_bytes()
    switch, calls = linear.set_mode, []

    def killed(model: torch.nn.Module, mode: str) -> None:
        calls.append(mode)
        if len(calls) == 4:
            raise KeyboardInterrupt
        switch(model, mode)

    monkeypatch.setattr(linear, "set_mode", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune.main()
    monkeypatch.setattr(linear, "set_mode", switch)
    finetune.main()
    assert Path("models/finetuned.safetensors").read_bytes() == undisturbed


@pytest.mark.parametrize("bits", [4, 2])
def test_weights_of_few_bits_are_what_the_model_is_left_with(bits, project):
    set_params({"qat": True, "qat_start": 0.5, "weight_bits": bits}, {"ranges": "trained"})
    finetune.main()
    tensors = load(Path("models/finetuned.safetensors").read_bytes())
    assert not [name for name in tensors if "stretch" in name]
    layers = {name.removesuffix(".range") for name in tensors if name.endswith(".range")}
    assert len(layers) > 5
    for name in layers:
        assert max(len(row.unique()) for row in tensors[f"{name}.weight"]) <= 2**bits
    assert json.loads(Path("reports/finetune.json").read_text())["parameters"] == sum(
        tensor.numel()
        for name, tensor in tensors.items()
        if not name.endswith((".range", "feature_mean", "feature_std"))
    )
    calibrate.main()  # for who wants integers of the activations as well
    assert set(json.loads(Path("models/calibration.json").read_text())["layers"]) == layers


@pytest.mark.slow
def test_a_head_for_phones_goes_through_every_stage(project):
    """It is trained, its layer has a range of its own in the calibration, and both artefacts give its posteriors."""
    set_params({"qat": True, "qat_start": 0.5}, {"ranges": "trained"}, phones=True)
    finetune.main()
    by_ctc = load(Path("models/finetuned.safetensors").read_bytes())["phone_head.bias"]
    set_params({"qat": True, "qat_start": 0.5, "mmi": 0.9}, {"ranges": "trained"}, phones=True)
    finetune.main()
    calibrate.main()
    layers = json.loads(Path("models/calibration.json").read_text())["layers"]
    assert layers["phone_head"]["low"] < 0 < layers["phone_head"]["high"]
    assert layers["phone_head"]["seen"] == layers["head"]["seen"]
    weights = load(Path("models/finetuned.safetensors").read_bytes())
    torch.manual_seed(load_section("seed", int))
    untrained = fresh_model(load_section("model", ModelConfig)).phone_head
    assert (weights["phone_head.bias"] - untrained.bias).abs().min() > 0  # which does not decay: only by a gradient
    assert (weights["phone_head.bias"] - by_ctc).abs().min() > 0
    for target, source in (("onnx", None), ("onnx-int8", Path("models/export/onnx"))):
        export_target(target, project_model(), Path("models/export", target), source)
        session = InferenceSession(f"models/export/{target}/model.onnx", providers=["CPUExecutionProvider"])
        (phones,) = session.run(["phone_log_probs"], {"mel_spectrogram": np.zeros((1, 40, 80), np.float32)})
        assert phones.shape == (1, 20, 48)


@pytest.mark.slow
def test_the_result_may_be_an_average_with_the_base(project):
    finetune.main()
    calibrate.main()
    export_target("onnx-int8", project_model(), Path("base"))
    results, losses = {}, {}
    for share in (1.0, 0.25):
        set_params({"qat": True, "base": "base", "share": share}, {})
        finetune.main()
        results[share] = load(Path("models/finetuned.safetensors").read_bytes())
        losses[share] = json.loads(Path("reports/finetune.json").read_text())["validation_loss"]
    base = read_base("base").state
    for name, value in results[0.25].items():
        assert torch.allclose(value, torch.lerp(base[name], results[1.0][name], 0.25), atol=1e-6), name
    assert any(not torch.equal(results[1.0][name], value) for name, value in results[0.25].items())
    assert losses[0.25] != losses[1.0]  # of the average, which is what the stage gives
