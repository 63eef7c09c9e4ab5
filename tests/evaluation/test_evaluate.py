"""Test sets, error reports, parity, and the stages ``evaluate`` and ``benchmark`` on a recogniser of tones."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from torch import nn

from tests.command import run
from tests.corpora.layouts import gather
from tests.tone_model import speak, weights, write_model, write_speech
from velocity.audio import SAMPLE_RATE
from velocity.corpora.kinds.folder import read_folder
from velocity.errors import VelocityError
from velocity.evaluation.speed import _hum
from velocity.evaluation.testset import Utterance, load_test_set, read_test_set
from velocity.recognition.offline import VelocityASR
from velocity.recognition.segmentation import periodicity, voice_activity
from velocity.stages import benchmark, evaluate

PROJECT = Path(__file__).parents[2]
SPOKEN = {"one": "one two", "three": "three fox", "four": "four"}


class Tones(nn.Module):
    """The tone recogniser in PyTorch."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        weight, bias = weights(gain)
        self.weight, self.bias = nn.Parameter(torch.from_numpy(weight)), nn.Parameter(torch.from_numpy(bias))

    def outputs(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = (mel[:, ::2] @ self.weight + self.bias).log_softmax(-1)
        return log_probs, torch.full((len(mel),), log_probs.size(1))

    forward = outputs  # it gives no phones

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx")


def write_cuts(manifest: Path, texts: dict[str, str], folder: Path, group: str | None = None) -> None:
    """A manifest whose utterances all lie in one recording, one after the other."""
    pieces, cuts, start = [], [], 0
    source = {"sources": [{"type": "file", "source": str(manifest.with_suffix(".flac"))}]}
    custom = {"corpus": "tones", **({"group": group} if group else {})}
    for name, text in texts.items():
        samples = speak(SPOKEN[name], folder)
        times = {"start": start / SAMPLE_RATE, "duration": len(samples) / SAMPLE_RATE}
        supervision = {"text": text, "speaker": "flute", "custom": custom}
        cuts.append({"id": f"tones/{name}", **times, "supervisions": [supervision], "recording": source})
        pieces.append(samples)
        start += len(samples)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(manifest.with_suffix(".flac"), np.concatenate(pieces), SAMPLE_RATE)
    manifest.write_text("".join(json.dumps(cut) + "\n" for cut in cuts))


def test_cuts_are_read_as_utterances(tmp_path: Path, folder: Path) -> None:
    write_cuts(tmp_path / "test-tones.jsonl", SPOKEN, folder, group="child")
    name, utterances = load_test_set(str(tmp_path / "test-tones.jsonl"))
    model = VelocityASR(folder)
    assert name == "tones-test"
    assert [utterance.id for utterance in utterances] == ["tones/four", "tones/one", "tones/three"]
    assert all(model.transcribe(utterance.samples()) == utterance.text for utterance in utterances)
    assert {utterance.group for utterance in utterances} == {"child"}
    assert {utterance.speaker for utterance in utterances} == {"flute"}


def test_test_sets_of_official_parts_have_names_of_their_own(tmp_path, monkeypatch, folder):
    """Whatever dashes the name of the corpus has: its name is read from its cuts."""
    monkeypatch.chdir(tmp_path)
    for file, corpus in (
        ("test-tones", "tones"),
        ("test-tones-dev-clean-2", "tones"),
        ("test-librispeech-clean", "librispeech"),
        ("test-mini-librispeech", "mini-librispeech"),
    ):
        path = Path(f"data/prepared/{file}.jsonl")
        write_cuts(path, SPOKEN, folder)
        path.write_text(path.read_text().replace('"tones"', f'"{corpus}"'))
    for name in ("librispeech-test-clean", "mini-librispeech-test", "tones-test", "tones-test-dev-clean-2"):
        assert load_test_set(name)[0] == name
    assert load_test_set("libri_speech_test_clean")[0] == "librispeech-test-clean"
    with pytest.raises(VelocityError, match=r"nor a test set of this project \(librispeech-test-clean, mini-libri"):
        load_test_set("librispeech-test")


def test_librispeech_layout_in_any_format(tmp_path: Path, folder: Path) -> None:
    write_speech(tmp_path / "7/8/7-8-0001.flac", "one two", folder)
    write_speech(tmp_path / "7/8/7-8-0000.ogg", "three", folder)
    (tmp_path / "7/8/7-8.trans.txt").write_text("7-8-0001 ONE TWO\n7-8-0000 Three!\n\n")
    name, utterances = load_test_set(str(tmp_path))
    assert name == tmp_path.name
    found = [(utterance.id, utterance.text, utterance.speaker) for utterance in utterances]
    assert found == [("7-8-0000", "three", "7"), ("7-8-0001", "one two", "7")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither a folder"),
        ({"wrong/a.txt": ""}, r"no \*.trans.txt"),
        ({"wrong/a.trans.txt": "a-1 HELLO\n"}, "no audio files"),
        (
            {"wrong/a.trans.txt": "a-1 HELLO\na-2 GO\n", "wrong/a-2.wav": ""},
            "trans.txt line 1: a-1: transcript without audio",
        ),
        ({"wrong": ""}, "no utterance"),
        ({"wrong": "{}\n"}, "line 1"),
    ],
)
def test_faulty_test_sets_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(VelocityError, match=f"wrong.*{message}"):
        load_test_set(str(tmp_path / "wrong"))


@pytest.fixture
def speech(tmp_path: Path, folder: Path) -> Path:
    """Three utterances of two speakers, which are read without fault."""
    for speaker, (name, text) in zip("788", SPOKEN.items(), strict=True):
        write_speech(tmp_path / f"speech/{speaker}/1/{speaker}-1-{name}.wav", text, folder)
        with open(tmp_path / f"speech/{speaker}/1/{speaker}-1.trans.txt", "a") as file:
            file.write(f"{speaker}-1-{name} {text.upper()}\n")
    return tmp_path / "speech"


def mark_the_byte_order(speech: Path) -> None:
    path = speech / "7/1/7-1.trans.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def separate_by_tabs(speech: Path) -> None:
    path = speech / "8/1/8-1.trans.txt"
    path.write_text(path.read_text().replace(" ", "\t", 1))


def capital_endings(speech: Path) -> None:
    (speech / "7/1/7-1-one.wav").rename(speech / "7/1/7-1-one.WAV")


def audio_elsewhere(speech: Path) -> None:
    (speech / "audio").mkdir()
    (speech / "8/1/8-1-four.wav").rename(speech / "audio/8-1-four.wav")


def macos_leftovers(speech: Path) -> None:
    for name in ("8/1/._8-1.trans.txt", "8/1/._8-1-four.wav"):
        (speech / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X\xb0")


def linked_speakers(speech: Path) -> None:
    for speaker in "78":
        (speech / speaker).rename(speech.parent / speaker)
        (speech / speaker).symlink_to(speech.parent / speaker)


HARMLESS = [mark_the_byte_order, separate_by_tabs, capital_endings, audio_elsewhere, macos_leftovers, linked_speakers]


@pytest.mark.parametrize("change", HARMLESS)
def test_a_test_set_is_read_as_fetch_reads_it(speech: Path, change) -> None:
    expected = [(found.id, found.text, found.speaker) for found in load_test_set(str(speech))[1]]
    assert expected == [("7-1-one", "one two", "7"), ("8-1-four", "four", "8"), ("8-1-three", "three fox", "8")]
    change(speech)
    assert [(found.id, found.text, found.speaker) for found in load_test_set(str(speech))[1]] == expected
    _, supervisions, faults = gather(read_folder("mine", speech))
    assert faults == []
    assert [(found.id, found.text.lower(), found.speaker) for found in supervisions] == [
        (f"mine/{name}", text, speaker) for name, text, speaker in expected
    ]


def test_ages_give_groups(speech: Path) -> None:
    (speech / "SPEAKERS.TXT").write_text("; ID | age\n7 | 9\n8 | 40\n")
    assert [found.group for found in load_test_set(str(speech))[1]] == ["child", "adult", "adult"]


def windows_encoding(speech: Path) -> str:
    (speech / "7/1/7-1.trans.txt").write_bytes(b"7-1-one CAF\xc9\n")
    return r"7-1\.trans\.txt: not UTF-8 \(byte 11\)"


def no_audio(speech: Path) -> str:
    (speech / "7/1/7-1-one.wav").unlink()
    return r"7-1\.trans\.txt line 1: 7-1-one: transcript without audio"


def no_text(speech: Path) -> str:
    (speech / "7/1/7-1.trans.txt").write_text("7-1-one\n")
    return r"7-1\.trans\.txt line 1: 7-1-one: malformed transcript"


def test_audio_without_a_transcript_is_no_part_of_the_test_set(speech: Path, capsys) -> None:
    shutil.copy(speech / "7/1/7-1-one.wav", speech / "7/1/7-1-two.wav")
    assert len(load_test_set(str(speech))[1]) == 3
    assert "warning: 1 audio files have no transcript and are left out, such as " in capsys.readouterr().err


def two_files(speech: Path) -> str:
    shutil.copy(speech / "7/1/7-1-one.wav", speech)
    return r"7-1-one: duplicate id"


def damaged_audio(speech: Path) -> str:
    (speech / "7/1/7-1-one.wav").write_bytes(b"RIFF, but no audio")
    return r"7-1-one\.wav: cannot be read as audio"


@pytest.mark.parametrize("change", [windows_encoding, no_audio, no_text, two_files, damaged_audio])
def test_what_is_bad_is_named_and_the_rest_is_evaluated(speech: Path, folder: Path, change, capsys) -> None:
    named = change(speech)
    status, out, error = run(capsys, "evaluate", "--test-set", speech, "--model", folder, "--json")
    assert status == 2
    figures = json.loads(out)
    assert (figures["utterances"], figures["words"], figures["wer"]) == (2, 3, 0.0)
    assert list(figures["speakers"]) == ["8"]
    assert re.search(rf"^error: .*these figures leave out:\n  .*{named}", error, re.MULTILINE)
    assert "Traceback" not in error


def test_nothing_that_can_be_read_is_an_error_of_its_own(speech: Path, folder: Path, capsys) -> None:
    for path in speech.rglob("*.wav"):
        path.write_bytes(b"")
    status, _, error = run(capsys, "evaluate", "--test-set", speech, "--model", folder)
    assert (status, "speech: no utterance can be read; " in error) == (2, True)


def test_the_gate_does_not_judge_by_a_part_of_a_test_set(speech: Path) -> None:
    no_audio(speech)
    assert len(read_test_set(str(speech)).utterances) == 2
    with pytest.raises(VelocityError, match="7-1-one: transcript without audio"):
        load_test_set(str(speech))


def test_a_cut_beyond_the_end_of_its_file(tmp_path: Path, folder: Path) -> None:
    path = write_speech(tmp_path / "a.wav", "one", folder)
    with pytest.raises(VelocityError, match=r"a\.wav: ends before 99"):
        Utterance("a", path, "one", start=99.0, seconds=1.0).samples()


@pytest.fixture
def project(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))  # for the processes that measure, wherever the package is installed
    for target in ("onnx", "onnx-int8"):
        write_model(Path("models/export", target), target)
    write_cuts(Path("data/prepared/test-tones.jsonl"), {**SPOKEN, "four": "five"}, folder)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's weights are those of the tone recogniser; quantised, a little louder. In this process alone."""
    monkeypatch.setattr(evaluate, "PROCESSES", 1)
    monkeypatch.setattr("velocity.model.asr.load_model", lambda path: Tones())
    monkeypatch.setattr("velocity.quantization.calibration.load_quantized", lambda path, ranges: Tones(1.001))


def test_the_stage_evaluate(project: Path, trained: None) -> None:
    evaluate.main()
    written = Path("reports/metrics.json").read_bytes()
    metrics = json.loads(written)
    assert metrics["params"] == Tones().parameter_count()
    for artefact in ("onnx", "onnx-int8"):
        figures = metrics["test_sets"]["tones-test"][artefact]
        assert figures["wer"] == pytest.approx(1 / 5)
        assert figures["wer_ci95"][0] <= figures["wer"] <= figures["wer_ci95"][1]
        assert (figures["utterances"], figures["words"]) == (3, 5)
        report = json.loads(Path(f"reports/errors/tones-test-{artefact}.json").read_text())
        assert report["substitutions"] == [["five", "four", 1]]
    assert metrics["parity"]["onnx"]["max_abs_error"] < metrics["parity"]["onnx-int8"]["max_abs_error"]
    assert all(figures["passed"] for figures in metrics["parity"].values())
    evaluate.main()
    assert Path("reports/metrics.json").read_bytes() == written


def test_the_stage_evaluate_names_an_artefact_that_differs(project, trained, capfd) -> None:
    """One weight is changed in the file; other artefacts are judged by themselves, and unknown ones are reported."""
    graph = onnx.load("models/export/onnx/model.onnx")
    weight = next(tensor for tensor in graph.graph.initializer if tensor.name == "weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[tuple(index[3] for index in weights()[0].nonzero())] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "weight"))
    onnx.save(graph, "models/export/onnx/model.onnx")
    shutil.copytree("models/export/onnx-int8", "models/export/web")
    shutil.copytree("models/export/onnx-int8", "models/export/another", ignore=shutil.ignore_patterns("*.onnx"))
    evaluate.main()
    parity = json.loads(Path("reports/metrics.json").read_text())["parity"]
    assert {name for name, figures in parity.items() if not figures["passed"]} == {"onnx"}
    assert parity["web"]["same_as"] == "onnx-int8"
    result = capfd.readouterr().err
    assert "PARITY FAILED: onnx: log-posteriors off by 0." in result
    assert "another is left out: parity of such artefacts is not measured" in result


def test_the_stage_benchmark(project: Path) -> None:
    text = Path("params.yaml").read_text().replace("[1.0, 5.0, 10.0, 30.0, 60.0]", "[0.5, 2.0]")
    Path("params.yaml").write_text(text.replace("repeats: 7", "repeats: 1"))
    page, phone = Path("models/export/web"), Path("models/export/coreml/model.mlpackage")
    shutil.copytree("models/export/onnx-int8", page)
    (page / "index.html").write_text("a page")
    (phone / "Data").mkdir(parents=True)
    (phone / "Data/weight.bin").write_bytes(bytes(1000))
    benchmark.main()
    result = json.loads(Path("reports/benchmark.json").read_text())
    assert result["machine"]["cores"] >= 1
    for artefact in ("onnx", "onnx-int8"):
        figures = result["artefacts"][artefact]
        assert figures["bytes"] == Path("models/export", artefact, "model.onnx").stat().st_size
        assert [seconds for seconds, _ in figures["scaling"]] == [0.5, 2.0]
        assert all(rtf > 0 for _, rtf in figures["scaling"])
        assert 0 < figures["rtf_1thread"] == pytest.approx(figures["latency_seconds"] / 10, rel=0.05)
        # The interpreter, NumPy and onnxruntime alone: this process, which has PyTorch as well, is not counted.
        assert 20e6 < figures["peak_rss_bytes"] < 250e6
        assert min(figures["rtf_2threads"], figures["first_result_seconds"], figures["cold_start_seconds"]) > 0
    whole = sum(path.stat().st_size for path in page.iterdir())
    assert result["artefacts"]["web"] == {"bytes": whole, "folder_bytes": whole}  # the model is measured by itself
    assert result["artefacts"]["coreml"] == {"bytes": 1000, "folder_bytes": 1000}


def test_the_clip_of_the_cold_start_counts_as_a_voice() -> None:
    assert voice_activity(periodicity(_hum(3.0)), alone=True).all()  # or the model would not even run
