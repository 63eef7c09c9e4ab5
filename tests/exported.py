"""What the stages export, evaluate and benchmark leave in a project, of a recogniser of tones."""

import json
import shutil
from pathlib import Path

from tests.tone_model import write_model

WER = 0.0753
GOOD = {"passed": True, "failed": []}


def export(folder: Path, gain: float, passed: bool = True) -> None:
    """Another ``gain`` gives another model with the same answers; ``passed``: parity with PyTorch."""
    shutil.rmtree(folder / "models/export", ignore_errors=True)
    for target in ("onnx", "onnx-int8"):
        write_model(folder / "models/export" / target, target, gain)
    (folder / "reports").mkdir(exist_ok=True)
    figures = {"wer": WER, "wer_ci95": [0.0656, 0.0858], "utterances": 570}
    parity = {"passed": passed, "failed": [] if passed else ["another word"]}
    metrics = {
        "params": 10,
        "parity": {"onnx": GOOD, "onnx-int8": parity},
        "test_sets": {"a-test": {"onnx-int8": figures}},
    }
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    speed = {"bytes": 1000, "rtf_1thread": 0.0012, "peak_rss_bytes": 110_000_000}
    (folder / "reports/benchmark.json").write_text(json.dumps({"artefacts": {"onnx-int8": speed}}))
    (folder / "reports/MODEL_CARD.md").write_text("# The model's card\n")
