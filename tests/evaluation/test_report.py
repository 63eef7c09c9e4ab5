"""The report from figures as the stages write them: it names synthetic speech, shows every figure, is reproducible."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from velocity.errors import VelocityError
from velocity.evaluation.report import Results, model_card, report
from velocity.stages.report import main

PROJECT = Path(__file__).parents[2]
WER = {"wer_ci95": [0.03, 0.05], "cer": 0.01, "utterances": 570, "words": 4157}
PARITY = {
    "max_abs_error": 1.2e-5, "mean_abs_error": 1e-7, "argmax_agreement": 0.9987, "frames": 4321,
    "wer_difference": -0.0004, "wer_difference_from_float": 0.0021, "decoded": 300, "passed": True, "failed": [],
}  # fmt: skip
SPEED = {
    "rtf_1thread": 0.0051, "latency_seconds": 0.051, "cold_start_seconds": 0.6, "peak_rss_bytes": 90_000_000,
    "scaling": [[1.0, 0.006], [60.0, 0.005]],
}  # fmt: skip
FIGURES = {
    "data/prepared/summary.json": {
        "splits": {"train": {"utterances": 1620, "speakers": 42, "words": 11788, "hours": 0.994}}, "vocabulary": 30,
    },
    "reports/validation/summary.json": {
        "corpora": {"synthetic": {"hours": 1.48}},
        "checks": {"silence": {"severity": "drop", "failed": 2, "of": 24, "examples": ["synthetic/a-1"]}},
    },
    "reports/pretrain.json": {"steps": 150, "loss": 0.51234},
    "reports/finetune.json": {"steps": 700, "loss": 0.1, "validation_wer": 0.0625},
    "models/calibration.json": {
        "ranges": "trained", "utterances": 200, "layers": {"head": {"scale": 0.1}}, "speakers": 37, "compared_on": 100,
        "float_wer": 0.042, "compared": {
            "trained": {"same_best_class_percent": 99.54, "snr_db": 41.3, "wer": 0.043},
            "entropy": {"same_best_class_percent": 97.2, "snr_db": 30.1, "wer": 0.061},
        },
    },
    "reports/metrics.json": {
        "normalizer": "velocity-english", "params": 412345, "parity": {"onnx": PARITY, "onnx-int8": PARITY},
        "test_sets": {"synthetic-test": {"onnx": WER | {"wer": 0.0412}, "onnx-int8": WER | {"wer": 0.0433}}},
    },
    "reports/benchmark.json": {
        "machine": {"cpu": "a processor", "cores": 2, "system": "Linux", "python": "3.11", "onnxruntime": "1.32"},
        "artefacts": {"onnx": SPEED | {"bytes": 1_700_000}, "onnx-int8": SPEED | {"bytes": 520_000}},
    },
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    for name, value in FIGURES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    for stage in ("pretrain", "finetune"):
        rows = "step,loss,learning_rate,gradient_norm\n1,2.5,0.001,3.0\n2,1.5,0.001,\n"
        (tmp_path / f"reports/{stage}.csv").write_text(rows)
        (tmp_path / f"reports/{stage}-validation.csv").write_text("step,loss,wer\n1,2.6,0.9\n2,1.6,0.4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(name: str, edit) -> None:
    figures = json.loads(Path(name).read_text())
    edit(figures)
    Path(name).write_text(json.dumps(figures))


def test_report_shows_what_was_measured_and_that_it_is_synthetic(project: Path) -> None:
    main()
    text, card = (Path("reports", name).read_text() for name in ("README.md", "MODEL_CARD.md"))
    for page in (text, card):
        assert "synthetic speech only" in page.split("##")[0]
        assert "4.3 % (3.0–5.0)" in page
    for figure in ("4.1 % (3.0–5.0)", "99.54 %", "1.2e-05", "1,620", "6.2 %", "a processor"):
        assert figure in text, figure
    assert "412,345" in card
    first = {path: path.read_bytes() for path in Path("reports").rglob("*") if path.suffix in (".md", ".png")}
    assert {path.name for path in first} >= {"wer.png", "rtf.png", "training.png"}
    assert all(f"plots/{path.name}" in text for path in first if path.suffix == ".png")
    main()
    assert {path: path.read_bytes() for path in first} == first


def test_a_corpus_that_is_split_by_utterances_is_named_with_its_figures(project: Path) -> None:
    pages = [render(Results.load()) for render in (report, model_card)]
    assert "`. No speaker of a corpus's test set is in its training set.\n\n## Size" in pages[0]
    assert "**of speakers" not in "".join(pages)
    change("data/prepared/summary.json", lambda figures: figures.update(split_by_utterance={"synthetic": 1}))
    pages = [render(Results.load()) for render in (report, model_card)]
    assert [page.count("**of speakers in the training set**") for page in pages] == [2, 2]  # a row an artefact
    assert "`synthetic`: too few speakers to keep apart, so training and test set have different utt" in pages[0]


def test_failed_parity_is_reported_at_the_top(project: Path) -> None:
    failure = {"passed": False, "failed": ["WER +0.60 points from PyTorch (0.3 at most)"]}
    change("reports/metrics.json", lambda metrics: metrics["parity"]["onnx-int8"].update(failure))
    main()
    text = (project / "reports/README.md").read_text()
    assert "- **onnx-int8: parity FAILED**: WER +0.60 points from PyTorch (0.3 at most)" in text.split("##")[0]
    assert "| onnx-int8 | **FAILED** |" in text
    assert "| onnx | passed |" in text


def test_recorded_speech_is_not_called_synthetic(project: Path) -> None:
    params = project / "params.yaml"
    kept = params.read_text().split("validate:\n")
    corpus = "name: null\nseed: 1\nthreads: 2\ncorpora:\n  own: {kind: folder, source: speech}\n\n"
    params.write_text("validate:\n".join([corpus, *kept[1:]]))
    figures = FIGURES["reports/metrics.json"]["test_sets"]["synthetic-test"]
    change("reports/metrics.json", lambda metrics: metrics.update(test_sets={"own-test": figures}))
    main()
    text = (project / "reports/README.md").read_text()
    assert "synthetic" not in text
    assert "| `own-test` | recorded speech | onnx |" in text


@pytest.mark.parametrize("name", ["models/calibration.json", "reports/finetune.csv"])
def test_a_missing_or_broken_input_is_named(project: Path, name: str) -> None:
    (project / name).write_text("step,loss\n1,much\n")
    with pytest.raises(VelocityError, match=name):
        Results.load()
    (project / name).unlink()
    with pytest.raises(VelocityError, match=name):
        Results.load()
