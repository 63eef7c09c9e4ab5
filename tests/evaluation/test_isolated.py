"""A recogniser in a process of its own: its code is that of its checkout."""

import shutil
from pathlib import Path

import pytest

import velocity
from tests.tone_model import write_model, write_speech
from velocity.errors import VelocityError
from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.testset import Utterance

PACKAGE = Path(velocity.__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("isolated") / "onnx")


@pytest.fixture(scope="module")
def utterance(model) -> Utterance:
    return Utterance("a", write_speech(model.parent / "a.wav", "seven lamps", model), "seven lamps")


def checkout(folder: Path, fault: str = "") -> Path:
    """The package, with ``fault`` put at the end of velocity/audio.py."""
    shutil.copytree(PACKAGE, folder / "velocity", ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
    with open(folder / "velocity/audio.py", "a") as file:
        file.write(fault)
    return folder


def test_each_model_is_run_by_the_code_of_its_checkout(model, utterance, tmp_path, monkeypatch):
    """Neither the package on the path of this process nor the one in the current folder is used."""
    monkeypatch.chdir(checkout(tmp_path / "sound"))
    fault = "\n_whole = compute_mel_spectrogram\ncompute_mel_spectrogram = lambda samples: _whole(0 * samples)\n"
    silent = checkout(tmp_path / "silent", fault)
    with (
        IsolatedRecogniser(model) as here,
        IsolatedRecogniser(model, Path()) as sound,
        IsolatedRecogniser(model, silent) as other,
    ):
        assert here.transcribe([utterance], "here") == sound.transcribe([utterance], "sound") == ["seven lamps"]
        assert other.transcribe([utterance], "other") == [""]
        assert 0 < here.processor_time(1.0) < 60


def test_a_failure_is_one_line(model, tmp_path):
    with pytest.raises(VelocityError, match="nowhere: no"), IsolatedRecogniser(tmp_path / "nowhere") as recogniser:
        recogniser.processor_time(1.0)
    missing = Utterance("b", tmp_path / "b.wav", "b")
    with pytest.raises(VelocityError, match=r"b\.wav"), IsolatedRecogniser(model) as recogniser:
        recogniser.transcribe([missing], "missing")
    broken = checkout(tmp_path / "broken", "\nraise RuntimeError('half a commit')\n")
    with (
        pytest.raises(VelocityError, match=r"the code in .*broken cannot run this model"),
        IsolatedRecogniser(model, broken) as recogniser,
    ):
        recogniser.processor_time(1.0)
