"""The table of ablations against figures worked out by hand; a planted difference is seen, an equal row is not."""

import json

import numpy as np
import pytest

from tests.tone_model import write_model
from velocity.config import load_params
from velocity.errors import VelocityError
from velocity.evaluation.ablation import Counts, RowResult, Table, figures, markdown, write_report
from velocity.evaluation.side_by_side import side_by_side


def row(errors: list[int], words: int = 10, folder=None, parameters: int = 5) -> RowResult:
    ids = [f"u{index:03d}" for index in range(len(errors))]
    counts = Counts(dict(zip(ids, errors, strict=True)), dict.fromkeys(ids, words))
    return RowResult(folder, parameters, 1.5, {"toy-test": {"onnx": counts, "onnx-int8": counts}})


def rates(own: RowResult, other: RowResult | None) -> dict:
    return figures(own, other, resamples=2000, seed=1)["toy-test"]["onnx"]


def test_rates_and_differences_are_those_by_hand():
    result = rates(row([1, 0, 2, 1]), row([0, 0, 1, 1]))
    assert (result["wer"], result["difference"], result["utterances"]) == (4 / 40, 2 / 40, 4)
    # Differences 1, 0, 1, 0 over 10 words each: the mean of four draws is 0, 0.025 … 0.1, and 0 with probability 1/16.
    assert result["difference_ci95"] == [0.0, 0.1]
    assert not result["significant"]
    assert "difference" not in rates(row([1, 0]), None)


def test_the_paired_interval_sees_what_the_two_intervals_hide():
    """Utterances differ much in how hard they are; the worse row has an error more in every fifth."""
    random = np.random.default_rng(0)
    hard = random.integers(0, 9, 400)
    worse = hard + (np.arange(400) % 5 == 0)
    own, other = rates(row(worse.tolist()), row(hard.tolist())), rates(row(hard.tolist()), None)
    assert own["wer_ci95"][0] < other["wer_ci95"][1]  # they overlap
    assert own["difference"] == pytest.approx(0.02)
    # The mean of 400 draws of 0 or 1 with p = 0.2, over 10 words: ±1.96·√(0.16/400)/10 = ±0.00392.
    assert own["difference_ci95"] == pytest.approx([0.02 - 0.00392, 0.02 + 0.00392], abs=6e-4)
    assert own["significant"]


def test_only_common_utterances_are_paired():
    own, other = row([3, 0, 0, 0]), row([0, 0, 0])
    result = rates(own, other)
    assert result["paired_utterances"] == 3
    assert result["difference"] == pytest.approx(0.1)
    assert result["utterances"] == 4


def test_report_and_picture(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_model(tmp_path / name / "models/export/onnx-int8")
    measured = {"a": row([1] * 30, folder=tmp_path / "a"), "b": row([2] * 30, folder=tmp_path / "b", parameters=1234)}
    titles = {"b": "the other", "broken": "not here", "a": "the baseline"}
    result = Table(
        titles, dict.fromkeys(titles, "x"), measured, "a", "the command", "c" * 40, {"broken": "it fell | over"}
    )
    results = write_report(result, load_params(), tmp_path)
    assert [entry["name"] for entry in results["rows"]] == ["b", "broken", "a"]
    assert json.loads((tmp_path / "ablation.json").read_text()) == results
    text = (tmp_path / "ablation.md").read_text()
    assert text == markdown(results)
    line = next(line for line in text.splitlines() if line.startswith("| `b`"))
    size = (tmp_path / "b/models/export/onnx-int8/model.onnx").stat().st_size / 1e6
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["`b` the other", "1,234", "20.0 % (20.0–20.0)", "**+10.0 (+10.0 to +10.0)**"]
    assert cells[-2:] == [f"{size:.2f} MB", "1.50 h"]
    baseline = next(line for line in text.splitlines() if line.startswith("| `a`"))
    assert " – | 10.0 % (10.0–10.0) | – |" in baseline
    assert "**synthetic speech only**" in text
    assert "`the command` from commit cccccccccc" in text
    assert "- `broken` (not here): it fell | over" in text
    assert (tmp_path / "ablation.png").stat().st_size > 5000
    del measured["a"]
    failed = {"broken": "it fell | over", "a": "killed"}
    result = Table(titles, dict.fromkeys(titles, "x"), measured, "a", "the command", "c" * 40, failed)
    entry = write_report(result, load_params(), tmp_path)["rows"][0]
    assert "rtf_ratio" not in entry, "without the baseline nothing is compared"
    assert "difference" not in entry["test_sets"]["toy-test"]["onnx"]


def test_figures_of_two_runs_are_not_mixed(tmp_path):
    cut = {"id": "1", "recording": {"sources": [{"source": "a"}]}, "supervisions": [{"text": "a b c d"}]}
    files = {
        "reports/metrics.json": {
            "params": 3,
            "test_sets": {"x-test": {"onnx": {"wer": 0.5}, "onnx-int8": {"wer": 0.25}}},
        },
        "data/prepared/test-x.jsonl": cut | {"start": 0, "duration": 1},
        "reports/errors/x-test-onnx.json": {"errors": [{"id": "1", "errors": 2}]},
        "reports/errors/x-test-onnx-int8.json": {"errors": [{"id": "1", "errors": 1}]},
        "reports/pretrain.json": {"audio_hours": 2.0},
        "reports/finetune.json": {"audio_hours": 0.5},
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    loaded = RowResult.load(tmp_path, pretrained=True)
    assert (loaded.parameters, loaded.audio_hours, loaded.counts["x-test"]["onnx"].wer) == (3, 2.5, 0.5)
    assert RowResult.load(tmp_path, pretrained=False).audio_hours == 0.5
    (tmp_path / "reports/errors/x-test-onnx.json").write_text('{"errors": []}')
    with pytest.raises(VelocityError, match=r"x-test-onnx\.json: belongs to another run than"):
        RowResult.load(tmp_path, pretrained=True)
    (tmp_path / "reports/errors/x-test-onnx.json").unlink()
    with pytest.raises(VelocityError, match=r"x-test-onnx\.json: cannot be read"):
        RowResult.load(tmp_path, pretrained=True)


def test_artefacts_are_measured_in_turn(tmp_path):
    folders = {name: write_model(tmp_path / name) for name in ("a", "b")}
    result = side_by_side(folders, "a", rounds=3)
    assert result["a"]["rtf_ratio"] == 1.0
    assert 0 < result["b"]["rtf"] < 1
