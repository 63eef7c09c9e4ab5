"""The dialogue of ``velocity-asr record``, and the folder that it leaves."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from tests.command import run as run_command
from tests.commands.microphones import Microphone, User, quiet, voice
from tests.corpora.layouts import gather
from velocity.commands import microphone, record, recordings
from velocity.commands.recordings import Recordings
from velocity.corpora.kinds.folder import read_folder
from velocity.errors import VelocityError

PROMPTS = ["One is first", "Two follows one", "Three is a crowd", "Four is a square"]
ENTER = ""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A session: ``takes`` for the microphone, ``answers`` of the user."""

    def session(takes: list[np.ndarray], *answers: str | BaseException, minutes: float = 10) -> User:
        user = User(*answers)
        monkeypatch.setattr(microphone, "pieces", Microphone(*takes))
        record.session(Recordings(tmp_path / "speech", "me"), PROMPTS, minutes, None, user)
        return user

    return session


def texts(tmp_path: Path) -> dict[str, str]:
    """Utterance → transcript, as the pipeline reads the folder, which must be without a fault."""
    found, supervisions, faults = gather(read_folder("mine", tmp_path / "speech"))
    assert faults == []
    assert {recording.sampling_rate for recording in found} == {16_000}
    assert {segment.speaker for segment in supervisions} == {"me"}
    return {segment.id.removeprefix("mine/"): segment.text for segment in supervisions}


def test_folders_made_in_vain_are_removed(tmp_path: Path) -> None:
    Recordings(tmp_path / "speech", "me").remove_if_empty()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    Recordings(tmp_path / "mine", "me").remove_if_empty()
    assert (tmp_path / "mine").is_dir()


def test_a_session_ends_with_the_last_sentence(tmp_path: Path, read, capsys) -> None:
    read([voice()] * 4, ENTER, ENTER, ENTER, ENTER, ENTER)
    assert texts(tmp_path) == {f"me-1-000{number}": text for number, text in enumerate(PROMPTS, 1)}
    chapter = tmp_path / "speech/me/1"
    assert sorted(path.name for path in chapter.iterdir())[-1] == "me-1.trans.txt"
    assert len(list(chapter.iterdir())) == 5
    samples, rate = soundfile.read(chapter / "me-1-0001.flac", dtype="int16")
    assert (rate, samples.max()) == (16_000, voice().max())
    out = capsys.readouterr().out
    assert all(prompt in out for prompt in PROMPTS)
    assert "[0.0 of 10 minutes]" in out
    assert "4 new sentences" in out
    read([])
    assert "all 4 sentences are recorded" in capsys.readouterr().out


def test_enough_minutes_end_a_session_and_keep_the_next_from_starting(tmp_path: Path, read, capsys) -> None:
    read([voice(9)] * 2, ENTER, ENTER, ENTER, minutes=0.2)
    assert list(texts(tmp_path).values()) == PROMPTS[:2]
    read([], minutes=0.2)
    assert "0.3 of 0.2 minutes are recorded. More: --minutes 5" in capsys.readouterr().out


def test_repeat_takes_back_the_last_take(tmp_path: Path, read) -> None:
    wrong, right = voice(3), voice(5)
    read([voice(4), wrong, right], "r", ENTER, ENTER, "r", ENTER, "q")
    assert texts(tmp_path) == {"me-1-0001": PROMPTS[0], "me-1-0002": PROMPTS[1]}
    assert soundfile.info(tmp_path / "speech/me/1/me-1-0002.flac").duration > 5


def test_the_only_take_taken_back_leaves_no_file(tmp_path: Path, read) -> None:
    read([voice()], ENTER, "r", "q")
    assert not any(path.is_file() for path in (tmp_path / "speech").rglob("*"))


def test_the_very_last_take_can_be_repeated_or_left_out(tmp_path: Path, read) -> None:
    read([voice()] * 5, ENTER, ENTER, ENTER, ENTER, "r", ENTER, "r", "s", ENTER)
    assert list(texts(tmp_path).values()) == PROMPTS[:3]


def test_skipped_sentences_come_again_after_the_others(tmp_path: Path, read) -> None:
    read([voice()], "s", ENTER, "q")
    read([voice()] * 3, ENTER, ENTER, ENTER, ENTER)
    assert texts(tmp_path) == {
        "me-1-0001": PROMPTS[1],
        "me-2-0001": PROMPTS[2],
        "me-2-0002": PROMPTS[3],
        "me-2-0003": PROMPTS[0],
    }


def test_a_useless_take_is_offered_again(tmp_path: Path, read, capsys) -> None:
    read([quiet(1), voice(4, 0.003), voice()], User.STOPS, User.STOPS, ENTER, "q")
    assert list(texts(tmp_path).values()) == PROMPTS[:1]
    out = capsys.readouterr().out
    assert out.count("Not kept") == 2
    assert out.count(PROMPTS[0]) == 3


def test_repeat_after_a_useless_take_leaves_the_good_one_before_it(tmp_path: Path, read) -> None:
    read([voice(), quiet(1), voice()], ENTER, User.STOPS, "r", "q")
    assert list(texts(tmp_path).values()) == PROMPTS[:2]


def test_an_unknown_answer_changes_nothing(tmp_path: Path, read, capsys) -> None:
    read([voice()], "x", ENTER, "q")
    assert "Unknown answer 'x'" in capsys.readouterr().out
    assert list(texts(tmp_path).values()) == PROMPTS[:1]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("ending", [Killed(), KeyboardInterrupt()])
def test_an_end_between_takes_leaves_whole_ones_and_the_next_run_goes_on(tmp_path: Path, read, ending) -> None:
    with suppress(Killed):
        read([voice()] * 2, ENTER, ENTER, ending)
    assert list(texts(tmp_path).values()) == PROMPTS[:2]
    before = {path: path.read_bytes() for path in (tmp_path / "speech").rglob("*") if path.is_file()}
    read([voice()] * 2, ENTER, ENTER, ENTER)
    assert list(texts(tmp_path).values()) == PROMPTS
    assert all(path.read_bytes() == content for path, content in before.items())


def test_an_end_during_a_take_loses_that_take_only(tmp_path: Path, read, monkeypatch) -> None:
    monkeypatch.setattr(record.takes, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    read([voice()], ENTER)
    assert not any(path.is_file() for path in (tmp_path / "speech").rglob("*"))


def test_a_take_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    speech = Recordings(tmp_path / "speech", "me")
    speech.add(voice(), PROMPTS[0])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", full)
        with pytest.raises(VelocityError, match=r"cannot be written \(no space left"):
            speech.add(voice(), PROMPTS[1])
    assert list(texts(tmp_path).values()) == PROMPTS[:1]
    assert len(list((tmp_path / "speech/me/1").iterdir())) == 2
    speech.add(voice(), PROMPTS[1])
    assert list(texts(tmp_path).values()) == PROMPTS[:2]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command with a terminal whose user stops at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "Terminal", lambda: User("q"))
    return partial(run_command, capsys)


def test_the_command_shows_the_sentences_of_the_package_or_of_a_file(run, tmp_path: Path, monkeypatch) -> None:
    device = Microphone()
    monkeypatch.setattr(microphone, "pieces", device)
    status, out, err = run("record", "speech", "--device", "USB")
    assert (status, err, device.devices) == (0, "", ["USB"])
    assert "I did not choose to ask" in out
    (tmp_path / "own.txt").write_text("A sentence of mine.\n")
    assert "A sentence of mine." in run("record", "speech", "--prompts", "own.txt", "--speaker", "anna")[1]


@pytest.mark.parametrize("stdin", [io.StringIO(), None])
def test_no_terminal_is_one_line(tmp_path: Path, capsys, monkeypatch, stdin) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    status, _, err = run_command(capsys, "record", tmp_path / "speech")
    assert (status, err) == (2, "error: record needs a terminal: it shows sentences and waits for Enter\n")
    assert not (tmp_path / "speech").exists()


def fake_sounddevice(error: Exception) -> SimpleNamespace:
    class PortAudioError(Exception):
        pass

    def stream(*_: object, **__: object) -> None:
        raise PortAudioError("Error querying device -1") if error is None else error

    return SimpleNamespace(InputStream=stream, PortAudioError=PortAudioError)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (None, "pip install 'velocity-asr[microphone]'"),
        (fake_sounddevice(None), "the microphone 'USB' cannot be opened (Error querying device -1)"),
        (fake_sounddevice(ValueError("No input device matching 'USB'")), "(No input device matching 'USB')"),
    ],
)
def test_no_microphone_is_one_line(run, monkeypatch, module, named: str) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    status, out, err = run("record", "speech", "--device", "USB")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert named in err


@pytest.mark.parametrize(("device", "given"), [(None, None), ("USB", "USB"), ("3", 3)])
def test_the_microphone_gives_pieces_and_is_closed(monkeypatch, device: str | None, given: str | int | None) -> None:
    steps = []

    class Stream:
        def __init__(self, rate: int, size: int, device: str | int | None, channels: int, dtype: str) -> None:
            steps.append((rate, size, device, channels, dtype))

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None:
            steps.append("closed")

        def read(self, size: int) -> tuple[np.ndarray, bool]:
            return np.ones((size, 1), dtype=np.int16), False

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(InputStream=Stream, PortAudioError=OSError))
    pieces = microphone.pieces(0.1, device)
    assert np.array_equal(next(pieces), np.ones(1600, dtype=np.int16))
    pieces.close()
    assert steps == [(16_000, 1600, given, 1, "int16"), "closed"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["file/speech"], "file/speech/me: cannot be written (not a directory)"),
        (["file"], "file/me: cannot be written"),
        (["speech", "--speaker", "anna-maria"], "--speaker 'anna-maria'"),
        (["speech", "--speaker", "../x"], "--speaker"),
        (["speech", "--prompts", "file"], "file: no sentences"),
        (["speech", "--minutes", "0"], "--minutes"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path: Path, arguments: list[str], named: str) -> None:
    (tmp_path / "file").touch()
    status, out, err = run("record", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert named in err


def test_a_folder_without_permission_is_one_line(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recordings.os, "access", lambda *_: False)  # as root may write anywhere
    assert run("record", "speech")[2] == "error: speech/me: cannot be written (permission denied)\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals")
def test_the_keyboard(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    keys, terminal = os.openpty()
    with open(keys, "wb", buffering=0) as keys, open(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        user = record.Terminal()
        assert not user.stopped()
        keys.write(b"\n")
        assert user.stopped()
        assert not user.stopped()
        keys.write(b" S \n\x04")
        assert user.ask("? ") == "s"
        assert not user.stopped()  # Ctrl-D ends the input without a line
        keys.write(b"\x04")
        assert user.ask("? ") == "q"
