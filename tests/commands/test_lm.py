"""``velocity-asr lm build`` and ``lm tune``, and which language model a recogniser then decodes with."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.command import run
from tests.tone_model import speak, write_model
from velocity.audio import SAMPLE_RATE
from velocity.commands import lm as commands
from velocity.errors import VelocityError
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.tables import SPECIAL
from velocity.recognition.offline import VelocityASR

SENTENCE = "one two three four five six seven eight nine"


def words_of(path: Path) -> list[str]:
    return list(NGram(path).words[len(SPECIAL) :])


@pytest.mark.parametrize("name", ["calls.lm", "calls.arpa"])
def test_build_writes_the_same_model_every_time(tmp_path: Path, capsys, name: str) -> None:
    text, out = tmp_path / "text.txt", tmp_path / name
    text.write_text("The CAT sat!\n\nCafé, the dog.\n")
    code, output, _ = run(capsys, "lm", "build", text, "--out", out, "--order", "2")
    assert code == 0
    assert "7 1-grams" not in output
    assert "8 1-grams" in output  # <unk>, <s>, </s> and five words
    assert words_of(out) == ["cafe", "cat", "dog", "sat", "the"]
    first = out.read_bytes()
    run(capsys, "lm", "build", text, "--out", out, "--order", "2")
    assert out.read_bytes() == first


def test_build_writes_pronunciations_where_it_can(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("two knights at night\n")
    last = lambda out: run(capsys, "lm", "build", text, "--out", out)[1].splitlines()[-1]  # noqa: E731
    assert last(tmp_path / "spoken.lm").endswith(" bytes, with pronunciations")
    assert NGram(tmp_path / "spoken.lm").pronunciation("night")
    assert last(tmp_path / "lm.arpa").endswith(" bytes")
    monkeypatch.setattr("velocity.commands.lm.find_spec", lambda _: None)
    assert "without pronunciations, which need espeak-ng" in last(tmp_path / "mute.lm")
    assert not NGram(tmp_path / "mute.lm").pronounces


def test_build_prunes_to_the_size_that_is_asked_for_and_keeps_what_tells_most(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(3)
    words = [f"{a}{b}" for a in "bcdfghjklm" for b in "aeiou"]
    lines = [" ".join(rng.choice(words, 12)) + " new york new york" for _ in range(400)]
    text = tmp_path / "text.txt.xz"
    text.write_bytes(lzma.compress("\n".join(lines).encode()))
    sizes = {}
    for most in (1_000_000, 30_000, 15_000):
        out = tmp_path / f"{most}.lm"
        assert run(capsys, "lm", "build", text, "--out", out, "--max-bytes", most)[0] == 0
        sizes[most] = out.stat().st_size
        assert sizes[most] <= most
        model = NGram(out)
        after, _ = model.word((), "new")
        york = model.word(after, "york")[1]
        assert york > -0.5  # nearly certain, and the last n-gram to be dropped
        total = sum(np.exp(model.word(after, word)[1]) for word in [*words, "new", "york", "unheard"])
        assert total + np.exp(model.end(after)) == pytest.approx(1.0, abs=0.05)  # eight bits a value
    assert sizes[30_000] > 25_000
    code, _, error = run(capsys, "lm", "build", text, "--out", tmp_path / "small.lm", "--max-bytes", "1000")
    assert (code, error.count("lower --vocabulary")) == (2, 1)


def test_build_trains_a_network_beside_the_n_grams(tmp_path: Path, capsys) -> None:
    """It takes its part of the bytes, and n-grams give way."""
    rng = np.random.default_rng(3)
    words = [f"{a}{b}" for a in "bcdfghjklm" for b in "aeiou"]
    text, sizes = tmp_path / "text.txt", {}
    text.write_text("\n".join(" ".join(rng.choice(words, 9)) for _ in range(300)))
    for most in (1_000_000, 610_000):
        out = tmp_path / f"{most}.lm"
        code, output, _ = run(capsys, "lm", "build", text, "--out", out, "--recurrent", 1, "--max-bytes", most)
        assert code == 0
        assert "a recurrent network" in output
        model, sizes[most] = NGram(out), out.stat().st_size
        assert sizes[most] <= most
        own = {model.words[word] for word in model.recurrent.words}
        assert own == {*words, "<s>", "</s>"}
    assert sizes[610_000] < sizes[1_000_000]
    code, _, error = run(capsys, "lm", "build", text, "--out", tmp_path / "n.lm", "--recurrent", 1, "--max-bytes", 9999)
    assert (code, error.count("words and the network alone take")) == (2, 1)


@pytest.mark.parametrize(("name", "missing", "reason"), [("lm.arpa", "", "has no room"), ("a.lm", "torch", "PyTorch")])
def test_build_refuses_a_network_that_cannot_be(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch, name: str, missing: str, reason: str
) -> None:
    text, find_spec = tmp_path / "text.txt", commands.find_spec
    text.write_text("one two three\n")
    monkeypatch.setattr(commands, "find_spec", lambda module: None if module == missing else find_spec(module))
    code, _, error = run(capsys, "lm", "build", text, "--out", tmp_path / name, "--recurrent", 1)
    assert (code, error.count("\n")) == (2, 1)
    assert reason in error


def test_build_leaves_out_what_a_test_set_has(tmp_path: Path, capsys) -> None:
    text, test = tmp_path / "text.txt", tmp_path / "test.txt"
    text.write_text(f"before {SENTENCE} after\nyes\nten eleven twelve thirteen fourteen fifteen sixteen\nno sir\n")
    test.write_text(f"{SENTENCE}\nyes\nten eleven twelve thirteen fourteen fifteen\n")
    out = tmp_path / "lm.lm"
    code, output, _ = run(capsys, "lm", "build", text, "--out", out, "--exclude", test)
    assert (code, "text.txt: 2 lines left out" in output, ": 1, 2\n" in output) == (0, True, True)
    assert words_of(out) == sorted(
        ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "no", "sir"]
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", None), ("a.txt", b"\n ... \n"), ("a.txt", b"\xff\xfe\x00"), ("a.xz", b"no xz"), ("a.gz", b"no gz")],
)
def test_a_text_without_words_is_refused_in_one_line(tmp_path: Path, capsys, name: str, content: bytes | None) -> None:
    text = tmp_path / name
    if content is not None:
        text.write_bytes(content)
    code, _, error = run(capsys, "lm", "build", text, "--out", tmp_path / "lm.lm")
    assert code == 2
    message = [line for line in error.splitlines() if line.startswith("error")]
    assert len(message) == 1
    assert str(text) in message[0]
    assert not (tmp_path / "lm.lm").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def lm(tmp_path: Path, model: Path, capsys) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("the fox\nthe box\nfox jumps\n")
    run(capsys, "lm", "build", text, "--out", model / "words.lm")
    return model / "words.lm"


@pytest.fixture
def speech(tmp_path: Path, model: Path) -> Path:
    folder = tmp_path / "speech" / "1" / "2"
    folder.mkdir(parents=True)
    lines = []
    for number, text in enumerate(["the fox", "fox jumps", "the box"]):
        soundfile.write(folder / f"1-2-{number}.wav", speak(text, model), SAMPLE_RATE)
        lines.append(f"1-2-{number} {text.upper()}\n")
    (folder / "1-2.trans.txt").write_text("".join(lines))
    return tmp_path / "speech"


def test_tune_writes_weights_that_the_model_then_uses(model: Path, lm: Path, speech: Path, capsys) -> None:
    assert VelocityASR(model).language_model is None
    code, output, _ = run(capsys, "lm", "tune", "--model", model, "--lm", lm, "--test-set", speech, "--write")
    assert code == 0
    assert "best path" in output
    entry = json.loads((model / "config.json").read_text())["language_model"]
    assert entry["file"] == "words.lm"
    used = VelocityASR(model).language_model
    assert (used.weight, used.word_bonus) == (entry["weight"], entry["word_bonus"])
    assert VelocityASR(model).decoder.beam
    assert VelocityASR(model, lm="none").decoder.beam is None
    assert run(capsys, "transcribe", speech / "1/2/1-2-1.wav", "--model", model)[1] == "fox jumps\n"
    code, _, error = run(
        capsys, "transcribe", speech / "1/2/1-2-1.wav", "--model", model, "--lm", "none", "--lm-weight", 1
    )
    assert (code, "need a language model" in error) == (2, True)


def test_tune_needs_a_language_model_and_utterances(model: Path, lm: Path, speech: Path, capsys) -> None:
    code, _, error = run(capsys, "lm", "tune", "--model", model, "--test-set", speech)
    assert (code, "add --lm FILE" in error) == (2, True)
    arguments = ("lm", "tune", "--model", model, "--lm", lm, "--test-set", speech, "--only", "^9-")
    code, _, error = run(capsys, *arguments)
    assert (code, "no utterance whose id matches '^9-'" in error) == (2, True)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        [],
        "words.lm",
        {"file": "words.lm", "weight": "x", "word_bonus": 1},
        {"file": "words.lm", "weight": -1.0, "word_bonus": 1},
        {"file": "../words.lm", "weight": 1, "word_bonus": 1},
        {"file": "words.lm", "weight": float("nan"), "word_bonus": 1},
    ],
)
def test_an_entry_that_is_none_is_one_line(model: Path, lm: Path, entry: object) -> None:
    config = json.loads((model / "config.json").read_text()) | {"language_model": entry}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(VelocityError, match=r"config\.json: language_model must have"):
        VelocityASR(model)
    assert VelocityASR(model, lm="none").language_model is None


def test_a_language_model_that_is_missing_is_one_line(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["language_model"] = {"file": "gone.lm", "weight": 1.0, "word_bonus": 1.0}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(VelocityError, match=r"gone\.lm: no such language model"):
        VelocityASR(model)
