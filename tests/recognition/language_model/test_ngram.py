"""What the reader says of an ARPA file written by hand, beside KenLM, and after any damage to its own file."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest

from velocity.errors import VelocityError
from velocity.recognition.language_model.arpa import read_arpa, write_arpa
from velocity.recognition.language_model.file import MAGIC, file_size, read_file, write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.pruning import quantise

LN10 = math.log(10)
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
# No <unk>; a back-off of an n-gram that begins no longer one ("a b"); unsorted.
ARPA = """
\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\tb
-99\t<s>\t-0.25
-1.0\ta\t-0.5
-0.75\t</s>
-2.0\tc\t-0.125

\\2-grams:
-0.5\t<s> a\t-0.0625
-0.25\ta b\t-0.375
-0.125\tb </s>

\\3-grams:
-0.03125\t<s> a b

\\end\\
"""


def logs(model: NGram, text: str) -> list[float]:
    """The logarithms to base 10 of the words of ``text`` and of its end."""
    state, found = model.start(), []
    for word in text.split():
        state, log_prob = model.word(state, word)
        found.append(log_prob / LN10)
    return [*found, model.end(state) / LN10]


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA)
    return path


@pytest.fixture(scope="module", params=[2, 3, 4])
def tables(request: pytest.FixtureRequest):
    return estimate(SENTENCES, request.param).tables()


def test_an_arpa_file_by_hand(arpa: Path) -> None:
    model = NGram(arpa)
    assert logs(model, "a b") == pytest.approx([-0.5, -0.03125, -0.375 - 0.125])  # "a b </s>" backs off to "b </s>"
    assert logs(model, "a a") == pytest.approx([-0.5, -0.0625 - 0.5 - 1.0, -0.5 - 0.75])
    assert logs(model, "c b a") == pytest.approx([-0.25 - 2.0, -0.125 - 1.5, -1.0, -0.5 - 0.75])
    assert logs(model, "zebra a") == pytest.approx([-0.25 - 100, -1.0, -0.5 - 0.75])
    assert ("a" in model, "zebra" in model, "<s>" in model) == (True, False, False)
    assert model.unknown == pytest.approx(-100 * LN10)


def test_it_equals_kenlm() -> None:
    """Scores of kenlm 0.3.0, which needs a compiler to install, for SENTENCES with three words."""
    model = NGram.of(estimate(SENTENCES, 3).tables())
    for text, expected in KENLM.items():
        assert logs(model, text) == pytest.approx(expected, abs=1e-5 / LN10)


KENLM = {
    "the cat ran": [-0.631162, -0.281375, -0.35673, -0.161268],
    "dog dog sat off": [-0.8401, -0.193138, -1.135797, -1.635484, -0.42064],
    "zebra the dog zebra": [-1.648073, -1.033424, -0.604364, -1.949103, -0.586266],
    "a": [-0.797535, -1.188326],
}


def test_the_file_and_the_arpa_file_give_back_the_tables(tables, tmp_path: Path) -> None:
    write_file(tables, tmp_path / "lm.lm")
    write_arpa(tables, tmp_path / "lm.arpa")
    for found in (read_file(tmp_path / "lm.lm"), read_arpa(tmp_path / "lm.arpa")):
        assert list(found.words) == list(tables.words)
        for one, other in zip(found.levels, tables.levels, strict=True):
            assert np.array_equal(one.words, other.words)
            assert np.array_equal(one.contexts, other.contexts)
            assert np.array_equal(one.first, other.first)
            assert np.allclose(one.log_probs.codes, other.log_probs.codes, atol=1e-5)
            assert np.allclose(one.backoffs.codes, other.backoffs.codes, atol=1e-5)
    size = (tmp_path / "lm.lm").stat().st_size
    assert size <= file_size(tables) <= size + 3000
    write_file(tables, tmp_path / "again.lm")
    assert (tmp_path / "again.lm").read_bytes() == (tmp_path / "lm.lm").read_bytes()


@pytest.mark.parametrize("letters", ["", "c", "ca", "cat", "cats", "d", "o", "of", "t", "th", "x", "z"])
def test_the_best_beginning_is_that_of_all_words(letters: str) -> None:
    tables = estimate(SENTENCES, 2).tables()
    unigrams = dict(zip(tables.words[3:], tables.levels[0].log_probs.codes[3:].tolist(), strict=True))
    likely = [value for word, value in unigrams.items() if word.startswith(letters)]
    assert NGram.of(tables).best_beginning(letters) == (max(likely) if likely else None)


def test_every_damage_to_the_file_is_one_line(tables, tmp_path: Path) -> None:
    write_file(quantise(tables), tmp_path / "whole.lm")
    whole, path, rng = (tmp_path / "whole.lm").read_bytes(), tmp_path / "bad.lm", random.Random(1)
    damaged = [whole[:size] for size in (0, 1, 8, 9, 19, 20, 21, *rng.sample(range(len(whole)), 30))]
    for _ in range(60):
        place, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        damaged.append(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    damaged += [whole + b"x", MAGIC + bytes(100), MAGIC + b"\xff" * 100]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(VelocityError, match=r"bad\.lm: ") as stop:
            NGram(path)
        assert "\n" not in str(stop.value)


def test_a_forged_file_cannot_lead_outside_its_tables(tables, tmp_path: Path) -> None:
    from dataclasses import replace

    path, level = tmp_path / "forged.lm", tables.levels[0]
    for change in (
        {"first": np.roll(level.first, 1)},
        {"first": level.first + np.uint32(1)},
        {"contexts": level.contexts[::-1].copy()},
        {"contexts": level.contexts + np.uint32(1000)},
        {"log_probs": replace(level.log_probs, codes=level.log_probs.codes[1:])},
        {"log_probs": replace(level.log_probs, codebook=np.zeros(256, np.float32))},
        {"backoffs": replace(level.backoffs, codes=level.backoffs.codes.astype(np.uint8))},
    ):
        write_file(replace(tables, levels=[replace(level, **change), *tables.levels[1:]]), path)
        with pytest.raises(VelocityError, match=r"forged\.lm: its header does not fit"):
            NGram(path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("ngram 3=1", "ngram 3=2", "1 of 2 3-grams"),
        ("-1.0\ta", "nan\ta", "no logarithm of a probability"),
        ("-1.0\ta", "1.0\ta", "no logarithm of a probability"),
        ("-1.0\ta", "-1.0\tb", "a unigram twice"),
        ("<s> a b", "b a b", "whose first 2 words are not in it"),
        ("b </s>", "x </s>", "'x' is not among the unigrams"),
        ("b </s>", "a b", "a 2-gram twice"),
        ("b </s>", "b c a d </s>", "is no 2-gram"),
        ("\\2-grams:", "\\3-grams:", "where the 2-grams should begin"),
        ("\\data\\", "data", "does not begin with"),
    ],
)
def test_what_is_wrong_with_an_arpa_file_is_said(arpa: Path, old: str, new: str, reason: str) -> None:
    arpa.write_text(ARPA.replace(old, new))
    with pytest.raises(VelocityError) as stop:
        NGram(arpa)
    assert str(stop.value).startswith(f"{arpa}: ")
    assert reason in str(stop.value)


def test_a_cut_arpa_file_is_refused_wherever_it_is_cut(arpa: Path) -> None:
    for size in range(0, len(ARPA) - len("<s> a b\n\n\\end\\\n"), 3):
        arpa.write_text(ARPA[:size])
        with pytest.raises(VelocityError, match=r"lm\.arpa: "):
            NGram(arpa)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such language model"),
        (b"", "nor an ARPA file"),
        (bytes(range(256)) * 40, "not UTF-8"),
        (
            b"mmap lm http://kheafield.com/code format version 5\n\0",
            "a KenLM binary, which cannot be read; use the ARPA",
        ),
    ],
)
def test_what_is_no_language_model_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "lm.arpa").write_bytes(content)
    with pytest.raises(VelocityError, match=reason):
        NGram(tmp_path / "lm.arpa")
