"""The command line as a user meets it: outputs, exit statuses, one-line errors, and what it loads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.command import run as run_command
from tests.tone_model import speak, write_model, write_speech
from velocity.cli import main
from velocity.config import load_params
from velocity.errors import VelocityError

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``export/{onnx,onnx-int8}`` and ``speech/`` in LibriSpeech layout."""
    root = tmp_path_factory.mktemp("cli")
    model = write_model(root / "export/onnx")
    write_model(root / "export/onnx-int8", "onnx-int8")
    write_speech(root / "speech/7/7-1.wav", "hello world", model)
    write_speech(root / "speech/7/7-2.flac", "good night", model)
    (root / "speech/7/7.trans.txt").write_text("7-1 HELLO WORLD\n7-2 good light\n")
    return root


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(run_command, capsys)


def test_one_file_and_several(run, speech: Path) -> None:
    files = [speech / "speech/7/7-1.wav", speech / "speech/7/7-2.flac"]
    assert run("transcribe", files[0], "--model", speech / "export") == (0, "hello world\n", "")
    expected = f"{files[0]}\thello world\n{files[1]}\tgood night\n"
    assert run("transcribe", *files, "--model", speech / "export", "--no-quantized")[:2] == (0, expected)
    for jobs in (1, 3):
        assert run("transcribe", speech / "speech", "--jobs", jobs, "--model", speech / "export")[:2] == (0, expected)


def test_a_folder_to_a_folder_in_every_format(run, speech: Path, tmp_path: Path) -> None:
    for suffix, form in (("txt", "text"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt")):
        options = ["--input_dir", speech / "speech", "--output_dir", tmp_path / "out", "--format", form]
        assert run("transcribe", *options, "--model", speech / "export")[:2] == (0, "")
        assert (tmp_path / f"out/7/7-2.{suffix}").is_file()
    out = tmp_path / "out/7"
    assert (out / "7-1.txt").read_text() == "hello world\n"
    value = json.loads((out / "7-1.json").read_text())
    assert value["text"] == "hello world"
    assert value["seconds"] == pytest.approx(1.82, abs=0.01)
    assert value["rtf"] > 0
    assert re.fullmatch(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\nhello world\n\n", (out / "7-1.srt").read_text())
    assert re.fullmatch(
        r"WEBVTT\n\n00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}\nhello world\n\n", (out / "7-1.vtt").read_text()
    )
    assert not list(out.glob(".*"))


def test_json_has_words_with_times_and_confidences(run, speech: Path) -> None:
    options = ["--format", "json", "--model", speech / "export"]
    value, _ = map(json.loads, run("transcribe", "--input-dir", speech / "speech", *options)[1].splitlines())
    assert [word["text"] for word in value["words"]] == ["hello", "world"]
    assert 0 <= value["words"][0]["start"] < value["words"][0]["end"] <= value["words"][1]["start"] < value["seconds"]
    assert all(0.5 < word["confidence"] <= 1 for word in value["words"])
    assert "passages" not in value
    value = json.loads(run("transcribe", speech / "speech/7/7-1.wav", *options, "--n-best", "3")[1])
    (passage,) = value["passages"]
    assert passage["alternatives"][0]["text"] == value["text"] == "hello world"
    assert len({found["text"] for found in passage["alternatives"]}) == 3
    scores = [found["score"] for found in passage["alternatives"]]
    assert scores == sorted(scores, reverse=True)


def test_hot_words_reach_the_decoder(run, speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = []
    transcribe = "velocity.commands.transcribe.transcribe_files"
    monkeypatch.setattr(transcribe, lambda model, *rest: decoders.append(model.decoder) or [])
    run("transcribe", speech / "speech", "--hotwords", "Zanzibar", "--beam", "7", "--model", speech / "export")
    assert (decoders[0].beam, decoders[0].n_best) == (7, 1)


def test_long_audio_is_written_while_it_is_recognised(run, speech: Path, tmp_path: Path) -> None:
    """A file that breaks off after half a minute: the words before are out, the error follows on a line of its own."""
    spoken = speak(" ".join(["the quick brown fox"] * 12), speech / "export/onnx")
    soundfile.write(tmp_path / "long.wav", np.append(spoken, [np.nan] * 9), 16_000, subtype="FLOAT")
    status, out, err = run("transcribe", "long.wav", "--model", speech / "export")
    assert status == 2
    assert out.startswith("the quick brown fox the quick")
    assert out.count("\n") == 1
    assert err.startswith("error: long.wav: holds samples")
    assert run("transcribe", "long.wav", "--output-dir", "out", "--model", speech / "export")[0] == 2
    assert not list(tmp_path.glob("out/*"))


def test_the_project_s_own_model_is_the_default(run, speech: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(speech)
    assert run("transcribe", speech / "speech/7/7-1.wav")[:2] == (0, "hello world\n")


MISTAKES = {
    "unknown model": ("transcribe a.wav --model nix", "nix"),
    "no file": ("transcribe", "nothing to transcribe"),
    "missing file": ("transcribe gone.wav --model EXPORT", "gone.wav"),
    "no such folder": ("transcribe --input-dir gone --model EXPORT", "gone"),
    "a folder without audio": ("transcribe . --model EXPORT", "no audio file"),
    "unknown option": ("transcribe --nonsense", "--nonsense"),
    "unknown format": ("transcribe a.wav --format doc", "doc"),
    "unknown command": ("transscribe", "transscribe"),
    "subtitles to stdout": ("transcribe a.wav b.wav --format srt", "--output-dir"),
    "one name twice": ("transcribe x/a.wav y/a.wav --output-dir o --model EXPORT", "y/a.wav"),
    "alternatives in text": ("transcribe a.wav --n-best 3", "json"),
    "no jobs": ("transcribe a.wav --jobs 0", "--jobs"),
    "no test set": ("evaluate --model EXPORT", "--test-set"),
    "unknown test set": ("evaluate --test-set nix-test --model EXPORT", "nix-test"),
    "librispeech absent": ("evaluate --test-set libri_speech_test_clean --model EXPORT", "data/raw/libri"),
    "unknown profile": ("profile nix", "nix"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_and_status_2(run, speech: Path, mistake: str) -> None:
    line, named = MISTAKES[mistake]
    status, out, err = run(*line.replace("EXPORT", str(speech / "export")).split(" "))
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: .*\n", err)
    assert named in err


def test_debug_shows_where(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["--debug", "transcribe", "a.wav"], ["transcribe", "a.wav", "--debug"]):
        with pytest.raises(VelocityError, match=r"a\.wav"):
            main(arguments)


@pytest.fixture
def params(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    return Path(shutil.copy(PROJECT / "params.yaml", tmp_path))


OVERLAY = """
corpora:
  own: {kind: folder, source: path/to/speech}  # my speech
finetune: {optimisation: {steps: 4000}}
model: {dropout: 0.2}
"""


def test_a_profile_changes_what_it_names_and_keeps_comments(run, params: Path) -> None:
    before, text = load_params(params), params.read_text()
    Path("profiles/own.yaml").write_text(OVERLAY)
    status, out, _ = run("profile", "own")
    after = load_params(params)
    assert status == 0
    assert f"finetune.optimisation.steps: {before.finetune.optimisation.steps} → 4000" in out
    assert list(after.corpora) == ["own"]
    assert (after.finetune.optimisation.steps, after.model.dropout) == (4000, 0.2)
    assert after.finetune.optimisation.batch_seconds == before.finetune.optimisation.batch_seconds
    assert (after.pretrain, after.validate) == (before.pretrain, before.validate)
    changed = params.read_text()
    corpora = text[text.index("corpora:") : text.index("validate:")]
    comments = {line for line in text.replace(corpora, "").splitlines() if "#" in line}
    assert comments
    assert all("dropout" in line or "steps" in line for line in comments - set(changed.splitlines()))
    assert "# my speech" in changed
    assert run("profile", "own")[1] == "params.yaml: unchanged, the profile is already applied\n"
    assert params.read_text() == changed


@pytest.mark.parametrize(
    ("overlay", "named"),
    [
        ("modell: {dim: 96}", "modell"),
        ("model: {dimm: 96}", "model.dimm"),
        ("finetune: {optimisation: {steps: many}}", "finetune.optimisation.steps"),
        ("corpora: {own: {kind: tape}}", "corpora.own"),
        ("a: [", "not YAML"),
        ("just text", "sections"),
    ],
)
def test_a_faulty_profile_changes_nothing(run, params: Path, overlay: str, named: str) -> None:
    before = params.read_bytes()
    Path("profiles/wrong.yaml").write_text(overlay)
    status, _, err = run("profile", "wrong")
    assert status == 2
    assert re.fullmatch(r"error: .*\n", err)
    assert named in err
    assert "wrong.yaml" in err
    assert params.read_bytes() == before
    assert not list(params.parent.glob(".*"))


def test_the_threads_of_numpy_are_limited_before_it_loads() -> None:
    """They only compete where matrices are small; OpenBLAS reads the environment once, when NumPy loads it."""
    code = "import sys, velocity.cli\nassert 'numpy' not in sys.modules, [n for n in sys.modules if 'velocity' in n]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_transcribing_loads_the_light_runtime_only(speech: Path) -> None:
    code = (
        "import sys\n"
        "from velocity.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    arguments = ["transcribe", str(speech / "speech/7/7-1.wav"), "--model", str(speech / "export"), "--format", "srt"]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = set(eval(result.stdout.splitlines()[-1]))
    assert "hello world" in result.stdout
    heavy = {"torch", "lhotse", "mlflow", "pandas", "jiwer", "matplotlib", "onnx", "scipy", "rich"}
    assert {"onnxruntime", "soundfile", "sentencepiece"} <= loaded
    assert not loaded & heavy
