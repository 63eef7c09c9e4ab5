"""Stages that cannot start: one line that names the reason, exit status 2, nothing written."""

from pathlib import Path

import pytest

from velocity.stages import benchmark, calibrate, evaluate, export, finetune, prepare, pretrain, run

ROOT = Path(__file__).parents[2]


def fail(start, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_an_export_without_a_trained_model_names_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export", "onnx"])
    assert "error: models/finetuned.safetensors: no trained model here" in fail(lambda: run(export.main), capsys)


@pytest.mark.parametrize("stage", [prepare, pretrain, finetune, calibrate, evaluate, benchmark])
def test_a_stage_by_itself_names_the_input_that_is_missing(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage"])
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    lines = [line for line in fail(lambda: run(stage.main), capsys).splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith(("error: data/", "error: models/"))
