"""The decoder as commands and the runtime use it: which search, which words, n-best, hot words, options."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.commands.decoder import HOT, decoder_from, read_hotwords
from velocity.errors import VelocityError
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.decoding.hotwords import HotWords
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.language_model.choice import LanguageModel
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.offline import VelocityASR
from velocity.text import TextTokenizer, train_tokenizer

FRAME = 0.04


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return train_tokenizer([], "characters", 0, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    texts = ["the cat sat on the mat and the dog sat there", "call anna now", "there is the other hat"] * 5
    return train_tokenizer(texts, "bpe", 60, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


def posteriors(
    tokenizer: TextTokenizer, text: str, other: str = "", sure: float = 0.9, share: float = 0.5
) -> np.ndarray:
    """(frames, V): each piece of ``text`` for a frame, then a blank; pieces of ``other`` have ``share`` of its rest."""
    tokens, rivals = tokenizer.encode(text), tokenizer.encode(other)
    frames = np.full((2 * len(tokens) + 2, tokenizer.vocabulary), 1e-4)
    frames[::2, 0] = frames[-1, 0] = 1.0
    for index, token in enumerate(tokens):
        frames[2 * index + 1, token] = sure
        if index < len(rivals):
            frames[2 * index + 1, rivals[index]] += (1 - sure) * share
    return np.log(frames / frames.sum(1, keepdims=True))


def test_pieces_write_what_the_tokenizer_decodes(characters: TextTokenizer, bpe: TextTokenizer) -> None:
    for tokenizer in (characters, bpe):
        written = pieces(tokenizer)
        assert written[:2] == ["", ""]
        for text in ("the cat", "call anna now", "there's a hat"):
            assert "".join(written[token] for token in tokenizer.encode(text)).strip() == text
    assert any(piece.startswith(" ") and len(piece) > 2 for piece in pieces(bpe))


@pytest.mark.parametrize("options", [{}, {"beam": 8}, {"hotwords": {"zebra": 1.0}}])
def test_clear_speech_is_read_by_every_search(characters, bpe, options) -> None:
    for tokenizer in (characters, bpe):
        (found,) = Decoder(tokenizer, FRAME, **options).decode(posteriors(tokenizer, "call anna now"))
        assert found.text == "call anna now"
        assert [word.text for word in found.words] == ["call", "anna", "now"]
        edges = [edge for word in found.words for edge in (word.start, word.end)]
        assert edges == sorted(edges)
        assert all(0.5 < word.confidence <= 1 for word in found.words)


def test_a_word_that_was_less_clear_has_less_confidence(characters: TextTokenizer) -> None:
    sure = posteriors(characters, "cat dog")
    sure[7:] = posteriors(characters, "cat dog", "cat pig", sure=0.6)[7:]
    cat, dog = Decoder(characters, FRAME).decode(sure)[0].words
    assert cat.confidence > 0.95 > 0.85 > dog.confidence


def test_n_best_are_different_texts_best_first(characters: TextTokenizer) -> None:
    log_probs = posteriors(characters, "ann ran", "amm fan", sure=0.6)
    found = Decoder(characters, FRAME, n_best=5).decode(log_probs)
    assert len({f.text for f in found}) == len(found) == 5
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert found[0].text == "ann ran"
    assert found[0].score == Decoder(characters, FRAME, beam=16).decode(log_probs)[0].score


def test_a_hot_word_is_heard_where_it_may_have_been_said_and_only_there(characters, bpe) -> None:
    for tokenizer in (characters, bpe):
        unsure, clear = (posteriors(tokenizer, "call anna now", "call enna", sure) for sure in (0.7, 0.999))
        hot = Decoder(tokenizer, FRAME, hotwords={"enna": 2.0})
        assert hot.decode(clear)[0].text == "call anna now"
    unsure = posteriors(characters, "call anna now", "call enna", sure=0.7)
    assert Decoder(characters, FRAME).decode(unsure)[0].text == "call anna now"
    assert Decoder(characters, FRAME, hotwords={"enna": 2.0}).decode(unsure)[0].text == "call enna now"
    assert Decoder(characters, FRAME, hotwords={"enn": 2.0}).decode(unsure)[0].text == "call anna now"  # no whole word


def language_model(*sentences: str) -> NGram:
    return NGram.of(estimate(sentences, 2).tables())


def test_a_language_model_and_hot_words_decide_together_and_apart(characters: TextTokenizer) -> None:
    lm = language_model(*["the cat sat", "the cat ran", "a hat", "the mat sat"] * 3)
    log_probs = posteriors(characters, "the xat sat", "the cat sat", sure=0.7, share=0.9)
    assert Decoder(characters, FRAME).decode(log_probs)[0].text == "the xat sat"
    assert Decoder(characters, FRAME, lm=lm).decode(log_probs)[0].text == "the cat sat"
    both = Decoder(characters, FRAME, lm=lm, hotwords={"xat": 4.0})
    assert both.decode(log_probs)[0].text == "the xat sat"
    assert Decoder(characters, FRAME, lm=lm, lm_weight=0.0, hotwords={"xat": 4.0}).decode(log_probs)[0].words


def test_options_become_a_decoder(characters: TextTokenizer) -> None:
    model = SimpleNamespace(tokenizer=characters, config={"frame_seconds": FRAME}, language_model=None, hotwords={})
    model.gives_phones = False
    model.new_decoder = partial(VelocityASR.new_decoder, model)
    log_probs = posteriors(characters, "call anna now", "call enna", sure=0.7)
    assert decoder_from(model).beam is None
    assert decoder_from(model, hotwords="Enna, Zoë").decode(log_probs)[0].text == "call enna now"
    assert len(decoder_from(model, n_best=3).decode(log_probs)) == 3
    for options, message in (
        ({"lm_weight": 1.0}, "add --lm"),
        ({"word_bonus": 1.0}, "add --lm"),
        ({"beam": 2, "n_best": 3}, "--n-best 3"),
    ):
        with pytest.raises(VelocityError, match=message):
            decoder_from(model, **options)
    model.language_model = LanguageModel(language_model("call anna"), 0.5, 3.0)
    assert decoder_from(model).beam
    plain, weighted = (decoder_from(model, word_bonus=bonus).decode(log_probs)[0] for bonus in (None, 4.0))
    assert weighted.score - plain.score == pytest.approx(3.0, abs=0.01)  # three words, a nat more each


def test_hot_words_are_read_from_a_file_or_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffAnna Kowalski\t2.5\n\nO'Neill\n")
    assert read_hotwords(str(path)) == {"anna kowalski": 2.5, "o'neill": HOT}
    assert read_hotwords("Anna, New York") == {"anna": HOT, "new york": HOT}


@pytest.mark.parametrize(
    ("source", "phrases"),
    [
        ("Dr. Smith", ["dr smith"]),
        ("AC/DC", ["ac dc"]),
        ("node.js, St. John's", ["node js", "st john's"]),
        (",".join(f"{a}{b}" for a in "abcdefghijklmnop" for b in "abcdefghijklmnop"), 256),  # no name of a file
    ],
)
def test_phrases_with_dots_and_slashes_are_not_taken_for_files(source: str, phrases: list[str] | int) -> None:
    found = read_hotwords(source)
    assert len(found) == phrases if isinstance(phrases, int) else list(found) == phrases


@pytest.mark.parametrize("source", ["names.txt", "./names", "../names", "/no/names", "~/names", "lists/names.tsv"])
def test_a_file_that_is_not_there_is_not_taken_for_a_phrase(source: str) -> None:
    with pytest.raises(VelocityError, match="no such file with hot words"):
        read_hotwords(source)


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [
        ("none.txt", None, r"none\.txt: no such file"),
        ("empty.txt", b"\n", "no hot word"),
        ("names.txt", b"anna\theavy\n", "line 1: 'heavy' is not a weight"),
        ("names.txt", b"anna\nbo\t-1\n", "line 2: '-1' is not a weight"),
        ("names.txt", b"anna\tnan\n", "'nan' is not a weight"),
        ("names.txt", b"!?\n", "no letter"),
        ("names.txt", b"\xff\xfe", "not a text file"),
    ],
)
def test_what_are_no_hot_words_is_refused(tmp_path: Path, source: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / source).write_bytes(content)
    with pytest.raises(VelocityError, match=message):
        read_hotwords(str(tmp_path / source))


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1), st.text("abc", max_size=4))
def test_whether_a_hot_word_begins_so(words: list[str], letters: str) -> None:
    assert HotWords(dict.fromkeys(words, 1.0)).begins(letters) == any(word.startswith(letters) for word in words)
