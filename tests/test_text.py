"""The normaliser against written-out examples and its properties; the tokenizers against their own text."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.errors import VelocityError
from velocity.text import ALPHABET, TextTokenizer, foreign_letters, normalize, train_tokenizer

WORDS = st.text(alphabet=ALPHABET[:26], min_size=1, max_size=8)
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("raw", "spoken"),
    [
        ("Set a timer for 15 minutes.", "set a timer for fifteen minutes"),
        ("Don’t STOP", "don't stop"),
        ("twenty-one—well", "twenty one well"),
        ("rock 'n' roll, the boys'", "rock n roll the boys"),
        ("Café, naïve Straße", "cafe naive strasse"),
        ("In 1984", "in nineteen eighty four"),
        ("1,984 people", "one thousand nine hundred and eighty four people"),
        ("the 1990s", "the nineteen nineties"),
        ("the 21st", "the twenty first"),
        ("at 7:05", "at seven oh five"),
        ("at 10:00", "at ten o'clock"),
        ("3.14", "three point one four"),
        ("agent 007", "agent zero zero seven"),
        ("$5.50 and £1", "five dollars fifty and one pound"),
        ("30% off & more", "thirty percent off and more"),
        ("ｆｕｌｌ ½", "full one two"),
        ("٣ apples", "three apples"),
        ("", ""),
        (" … — !", ""),
    ],
)
def test_normalize_speaks_what_is_written(raw, spoken):
    assert normalize(raw) == spoken


@given(st.text(max_size=60))
def test_normalize_leaves_only_its_alphabet_and_changes_nothing_twice(raw):
    text = normalize(raw)
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", text)
    assert normalize(text) == text


@given(SENTENCES, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_normalize_ignores_case_punctuation_and_composition(sentence, form):
    shouted = unicodedata.normalize(form, f"  {sentence.upper().replace('E', 'É')}?! ")
    assert normalize(shouted) == sentence


@given(st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))
def test_different_numbers_are_spoken_differently(first, second):
    assert (normalize(f"{first:,}") == normalize(f"{second:,}")) == (first == second)


def test_foreign_letters_are_those_that_would_be_lost():
    assert foreign_letters("say привет, Café 12 don't") == "привет"
    assert foreign_letters("Plain, text & 3 signs!") == ""


def test_character_tokenizer_has_the_whole_alphabet_whatever_the_text(tmp_path):
    tokenizer = train_tokenizer(["aa"], "characters", 0, tmp_path / "a.model")
    train_tokenizer(["zebras don't"] * 3, "characters", 0, tmp_path / "b.model")
    assert tokenizer.vocabulary == 30  # 26 letters, apostrophe, space, blank, unknown
    assert (tmp_path / "a.model").read_bytes() == (tmp_path / "b.model").read_bytes()
    ids = tokenizer.encode("don't go")
    assert len(ids) == len("don't go")
    assert min(ids) > 1
    assert tokenizer.decode([0, *ids, 0, 1]) == "don't go"


def test_bpe_tokenizer_is_deterministic_and_holds_no_path(tmp_path):
    texts = [normalize(f"{number} green bottles") for number in range(0, 900, 7)]
    first = train_tokenizer(texts, "bpe", 80, tmp_path / "first.model")
    train_tokenizer(texts, "bpe", 80, tmp_path / "second.model")
    data = (tmp_path / "first.model").read_bytes()
    assert data == (tmp_path / "second.model").read_bytes()
    assert str(tmp_path).encode() not in data
    assert first.vocabulary == 80
    assert len(first.encode(texts[5])) < len(texts[5]) / 2


@given(sentence=SENTENCES)
def test_round_trip(sentence, tokenizers):
    for tokenizer in tokenizers:
        ids = tokenizer.encode(sentence)
        assert tokenizer.decode(ids) == sentence
        assert all(1 < i < tokenizer.vocabulary for i in ids)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = [normalize(str(number)) for number in range(500)]
    return [train_tokenizer(texts, kind, 64, folder / kind) for kind in ("characters", "bpe")]


def test_too_many_pieces_names_the_key(tmp_path):
    with pytest.raises(VelocityError, match=r"prepare\.tokenizer\.vocabulary: 500 .* Vocabulary size too high"):
        train_tokenizer(["a b"], "bpe", 500, tmp_path / "bpe.model")
    assert not (tmp_path / "bpe.model").exists()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "junk.model").write_bytes(b"junk")
    for name in ("missing.model", "junk.model"):
        with pytest.raises(VelocityError, match=name):
            TextTokenizer(tmp_path / name)
