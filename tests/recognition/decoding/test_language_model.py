"""Kneser–Ney by hand, by its sums, and as KenLM reads it; the command that builds a model."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.cli import main
from velocity.errors import VelocityError
from velocity.recognition.decoding.kneser_ney import END, START, UNKNOWN, estimate, write_arpa
from velocity.recognition.decoding.ngram import NGram

SENTENCES = [
    "the cat sat",
    "the cat ran",
    "a dog sat",
    "the dog ran off",
    "off the cat ran",
    "a cat",
    "",
    "dog dog dog",
]
texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=5).map(" ".join), min_size=1, max_size=12)


def test_a_bigram_model_by_hand() -> None:
    # "x y" twice, "x z" once; five n-grams at most, so the discounts are 0.5, 1 and 1.5.
    model = estimate(["x y", "x y", "x z"], order=2)
    # Contexts before each word: x {<s>}, y {x}, z {x}, </s> {y, z}: 5 in all. Uniform: x, y, z, </s>, <unk>.
    left = (0.5 + 0.5 + 0.5 + 1.0) / 5
    unigram = dict.fromkeys("xyz", (1 - 0.5) / 5 + left / 5) | {END: (2 - 1.0) / 5 + left / 5, UNKNOWN: left / 5}
    for word, probability in unigram.items():
        assert model.probability(word) == pytest.approx(probability)
    # After x: y twice, z once. What the discounts free is shared out by the unigrams.
    freed = (1.0 + 0.5) / 3
    assert model.probability("y", ("x",)) == pytest.approx((2 - 1.0) / 3 + freed * unigram["y"])
    assert model.probability("z", ("x",)) == pytest.approx((1 - 0.5) / 3 + freed * unigram["z"])
    assert model.probability("x", ("x",)) == pytest.approx(freed * unigram["x"])
    # A sentence always begins with x, three times: the discount is the one for three and more.
    assert model.probability("x", (START,)) == pytest.approx((3 - 1.5) / 3 + 1.5 / 3 * unigram["x"])


@settings(max_examples=40)
@given(texts, st.integers(1, 4), st.integers(0, 2))
def test_probabilities_after_any_history_sum_to_one(sentences: list[str], order: int, prune: int) -> None:
    model = estimate(sentences, order, prune)
    vocabulary = [word for (word,) in model.probabilities[0]]
    for history in [(), (START,), ("a",), ("a", "b"), (START, "a", "b"), ("b", "unheard", "a"), ("d", "c", "b", "a")]:
        assert sum(model.probability(word, history) for word in vocabulary) == pytest.approx(1.0)


@pytest.mark.parametrize(("order", "prune"), [(2, 0), (3, 0), (3, 1), (4, 0)])
def test_kenlm_reads_the_same_probabilities(tmp_path: Path, order: int, prune: int) -> None:
    pytest.importorskip("kenlm", reason="not compiled here: `make lm`")
    model = estimate(SENTENCES, order, prune)
    write_arpa(model, tmp_path / "lm.arpa")
    lm = NGram(tmp_path / "lm.arpa")
    for words in product(["the", "cat", "dog", "zebra"], repeat=3):
        state, history = lm.start(), (START,)
        for word in words:
            state, log_prob = lm.word(state, word)
            assert log_prob == pytest.approx(math.log(model.probability(word, history)), abs=1e-5)
            history = (*history, word)
        assert lm.end(state) == pytest.approx(math.log(model.probability(END, history)), abs=1e-5)
    assert lm.unigrams.keys() == {word for s in SENTENCES for word in s.split()}
    assert lm.unknown == pytest.approx(math.log(model.probability(UNKNOWN)), abs=1e-5)
    assert "cat" in lm
    assert "zebra" not in lm


def test_the_command_builds_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kenlm", reason="not compiled here: `make lm`")
    text, out = tmp_path / "text.txt", tmp_path / "lm.arpa"
    text.write_text("The CAT sat!\n\nCafé, the dog.\n")
    with pytest.raises(SystemExit) as stop:
        main(["lm", "build", str(text), "--out", str(out), "--order", "2"])
    assert stop.value.code == 0
    assert "6 words in 2 lines" in capsys.readouterr().out
    assert NGram(out).unigrams.keys() == {"the", "cat", "sat", "cafe", "dog"}
    first = out.read_bytes()
    with pytest.raises(SystemExit):
        main(["lm", "build", str(text), "--out", str(out), "--order", "2"])
    assert out.read_bytes() == first


@pytest.mark.parametrize("content", [None, b"\n ... \n", b"\xff\xfe\x00"])
def test_a_text_without_words_is_refused_in_one_line(tmp_path, capsys, content) -> None:
    text = tmp_path / "text.txt"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        main(["lm", "build", str(text), "--out", str(tmp_path / "lm.arpa")])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert str(text) in message
    assert message.count("\n") == 1
    assert not (tmp_path / "lm.arpa").exists()


@pytest.mark.parametrize("content", [None, b"", b"not a model\n", b"\\data\\\nngram 1=9\n", bytes(range(256)) * 40])
def test_what_is_no_language_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "lm.arpa"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VelocityError, match=r"lm\.arpa: "):
        NGram(path)
