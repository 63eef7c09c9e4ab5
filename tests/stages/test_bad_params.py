"""Every stage, started with a params.yaml that is wrong: one line that names the key, exit status 2, nothing written."""

from importlib import import_module
from pathlib import Path

import pytest

from velocity.stages import run

ROOT = Path(__file__).parents[2]
STAGES = ["fetch", "validate", "prepare", "pretrain", "finetune", "calibrate", "export", "evaluate", "benchmark"]


@pytest.mark.parametrize("stage", STAGES)
def test_bad_params_stop_with_one_line(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [stage, "onnx"])
    params = (ROOT / "params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("  blocks: ", "  blocks: many, not "))
    with pytest.raises(SystemExit) as ended:
        run(import_module(f"velocity.stages.{stage}").main)
    error = capsys.readouterr().err
    assert (ended.value.code, error.count("\n")) == (2, 1), error
    assert error.startswith("error: params.yaml: model.blocks: ")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
