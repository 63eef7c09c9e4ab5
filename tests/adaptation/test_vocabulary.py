"""``velocity-asr adapt --vocabulary``: words and phrases that a model knows from then on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.command import run
from tests.tone_model import write_model, write_speech
from velocity import VelocityASR
from velocity.adaptation.vocabulary import LANGUAGE_MODEL, export_with_vocabulary
from velocity.errors import VelocityError
from velocity.phones import pronunciations
from velocity.recognition.language_model.choice import own_hotwords
from velocity.recognition.language_model.file import read_file, write_file
from velocity.recognition.language_model.kneser_ney import estimate

TEXT = ["a b c", "d e f", "a b d"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """With a language model of its own that knows no h."""
    folder = write_model(tmp_path_factory.mktemp("base") / "onnx-int8", "onnx-int8")
    write_file(estimate(TEXT, 3).tables(), folder / "letters.lm")
    config = json.loads((folder / "config.json").read_text())
    config["language_model"] = {"file": "letters.lm", "weight": 0.5, "word_bonus": 1.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def others(tmp_path, base) -> Path:
    """General speech of three utterances."""
    folder = tmp_path / "others" / "s1" / "c1"
    folder.mkdir(parents=True)
    with open(folder / "s1-c1.trans.txt", "w") as transcripts:
        for number, words in enumerate(TEXT):
            write_speech(folder / f"s1-c1-{number}.flac", words, base)
            transcripts.write(f"s1-c1-{number} {words.upper()}\n")
    return tmp_path / "others"


def test_words_alone_are_added_without_any_training(base, others, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("h\nAnna Kowalczyk\t2.5\n")
    options = ("--vocabulary", "words.txt", "--base", base, "--general", others, "--json")
    status, out, err = run(capsys, "adapt", "--out", "my", *options)
    assert status == 0, err
    assert json.loads(out)["verdict"] == "pass"
    assert json.loads(out)["test_sets"]["general speech"]["adapted"]["wer"] == 0
    assert "step 1 of 1: vocabulary, with 100% of the hot words' weight" in err
    assert not Path("my.adapting").exists()
    assert (Path("my") / "model.onnx").read_bytes() == (base / "model.onnx").read_bytes()
    model = VelocityASR("my")
    assert model.hotwords == {"h": 1.5, "anna kowalczyk": 2.5}
    assert model.config["name"] == "my"
    assert all(word in model.language_model.ngram for word in ("h", "anna", "kowalczyk", "a"))
    assert VelocityASR("my", lm="none").hotwords == {}
    assert "h" not in VelocityASR(base).language_model.ngram


def test_the_weight_of_hot_words_falls_until_general_speech_is_kept(base, others, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("g\t99\n")  # enough to be heard everywhere
    options = ("--vocabulary", "words.txt", "--base", base, "--general", others)
    status, out, err = run(capsys, "adapt", "--out", "my", *options)
    assert status == 1
    assert "with 40% of the hot words' weight" in err
    assert "refused: my is not written" in out
    assert not Path("my").exists()
    assert "adapt: resuming in my.adapting" not in err


def test_the_hot_words_of_a_model_count_when_it_decodes(base, tmp_path):
    export_with_vocabulary(base, {"h": 8.0}, "mine", tmp_path / "mine")
    plain, mine = VelocityASR(base), VelocityASR(tmp_path / "mine")
    h, b = (mine.tokenizer.encode(letter)[-1] for letter in "hb")
    log_probs = np.full((6, mine.config["vocabulary"]), -20.0, dtype=np.float32)
    log_probs[:, mine.config["blank"]] = -0.1
    log_probs[2, [mine.config["blank"], h, b]] = [-20.0, -1.1, -0.4]
    assert plain.decode_ctc(log_probs) == "b"
    assert VelocityASR(tmp_path / "mine", lm="none").decode_ctc(log_probs) == "b"
    assert mine.decode_ctc(log_probs) == "h"
    assert mine.new_decoder({"b": 12.0}).decode(log_probs)[0].text == "b", "those of a request come on top"


def test_new_words_are_pronounced_if_the_others_are(base, tmp_path):
    export_with_vocabulary(base, {"anna": 1.5}, "mute", tmp_path / "mute")
    assert not VelocityASR(tmp_path / "mute").language_model.ngram.pronounces
    shutil.copytree(base, tmp_path / "spoken")
    tables = read_file(base / "letters.lm")
    sounds = pronunciations(tables.words[3:])
    tables = replace(tables, pronunciations=[sounds.get(word, b"") for word in tables.words])
    write_file(tables, tmp_path / "spoken" / "letters.lm")
    export_with_vocabulary(tmp_path / "spoken", {"anna bea": 1.5}, "mine", tmp_path / "mine")
    mine = VelocityASR(tmp_path / "mine")
    words = ("a", "b", "anna", "bea")
    assert [mine.language_model.ngram.pronunciation(word) for word in words] == list(pronunciations(words).values())
    assert mine.decoder.reads_phones, "hot words included"


def test_a_second_list_comes_on_top_of_the_first(base, tmp_path):
    export_with_vocabulary(base, {"h": 1.5}, "one", tmp_path / "one")
    export_with_vocabulary(tmp_path / "one", {"g": 1.0}, "two", tmp_path / "two")
    model = VelocityASR(tmp_path / "two")
    assert model.hotwords == {"h": 1.5, "g": 1.0}
    assert all(letter in model.language_model.ngram for letter in "agh")
    assert (model.folder / LANGUAGE_MODEL).is_file()
    assert not (model.folder / "letters.lm").exists()


@pytest.mark.parametrize("entry", [["h"], {"h": "1.5"}, {"h": 0}, {"h": True}, "h"])
def test_an_entry_that_is_no_list_of_weights_is_refused(entry):
    with pytest.raises(VelocityError, match=r"my/config\.json: hotwords must map phrases to nats per letter"):
        own_hotwords(Path("my"), {"hotwords": entry})


def test_nothing_to_adapt_to_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, "adapt", "--out", "my")
    assert (status, err) == (2, "error: nothing to adapt to: name a FOLDER of recordings, --vocabulary FILE, or both\n")
    status, _, err = run(capsys, "adapt", "--out", "my", "--unlabelled", tmp_path)
    assert (status, err.count("\n")) == (2, 1)
    assert "--unlabelled needs a FOLDER of recordings with text as well" in err
    status, _, err = run(capsys, "adapt", "--out", "my", "--vocabulary", "names.txt")
    assert (status, err) == (2, "error: names.txt: no such file; --vocabulary needs a file with a list of words\n")
