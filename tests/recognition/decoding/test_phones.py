"""Words from posteriors of phones by the decoder: homophones, times, alternatives, hot words, when letters are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from velocity.errors import VelocityError
from velocity.phones import BLANK, BOUNDARY, CLASSES, pronunciations
from velocity.recognition.decoding import decoder as decoding
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.language_model.arpa import write_arpa
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.tables import Tables
from velocity.text import TextTokenizer, train_tokenizer

FRAME = 0.04
N, AI, T, S, AE, U = range(2, 8)
SOUNDS = {"night": [N, AI, T], "knight": [N, AI, T], "sat": [S, AE, T], "at": [AE, T], "two": [T, U], "too": [T, U]}
SENTENCES = ["at night", "at night", "at night", "the knight sat", "two knight", "two sat", "too", "sat too"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return train_tokenizer([], "characters", 0, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


def tables() -> Tables:
    """A language model in which ``the`` has no pronunciation."""
    plain = estimate(SENTENCES, 2).tables()
    return replace(plain, pronunciations=[bytes(SOUNDS.get(word, [])) for word in plain.words])


def posteriors(*path: int, sure: float = 0.9, other: int | None = None) -> np.ndarray:
    """(frames, CLASSES): a class a frame; ``other`` has the rest of frames that are not blank, else all share it."""
    frames = np.full((len(path), CLASSES), 1e-6)
    if other is None:
        frames += (1 - sure) / CLASSES
    else:
        frames[np.array(path) != BLANK, other] += 1 - sure
    frames[np.arange(len(path)), path] += sure
    return np.log(frames / frames.sum(1, keepdims=True))


def decoder(tokenizer: TextTokenizer, **options) -> Decoder:
    return Decoder(tokenizer, FRAME, lm=NGram.of(tables()), **options)


def test_of_homophones_the_one_that_fits_the_words_before(tokenizer: TextTokenizer) -> None:
    decode = decoder(tokenizer).decode_phones
    assert decode(posteriors(AE, T, BOUNDARY, N, AI, T))[0].text == "at night"
    assert decode(posteriors(T, U, BOUNDARY, N, AI, T))[0].text == "two knight"
    assert decode(posteriors(S, AE, T, BOUNDARY, T, U))[0].text == "sat too"


def test_words_are_timed_by_their_phones(tokenizer: TextTokenizer) -> None:
    path = [BLANK, AE, AE, T, BLANK, BOUNDARY, BLANK, BLANK, N, BLANK, AI, T, BLANK]
    log_probs = posteriors(*path)
    log_probs[3] = np.log((np.exp(log_probs[3]) + np.exp(log_probs[0])) / 2)  # less sure
    (found,) = decoder(tokenizer).decode_phones(log_probs)
    assert found.text == "at night"
    at, night = found.words
    assert (at.text, night.text) == ("at", "night")
    assert (at.start, at.end) == pytest.approx((1 * FRAME - 0.03, 4 * FRAME + 0.02))
    assert (night.start, night.end) == pytest.approx((8 * FRAME - 0.03, 12 * FRAME + 0.02))
    peaks = log_probs[[1, 3], [AE, T]]
    assert at.confidence == pytest.approx(float(np.exp(peaks.mean())))
    assert night.confidence > at.confidence
    assert decoder(tokenizer).decode_phones(log_probs, words=False)[0].words == []


def test_phones_of_no_word_leave_a_gap(tokenizer: TextTokenizer) -> None:
    (found,) = decoder(tokenizer).decode_phones(posteriors(AE, T, BOUNDARY, U, U, U, BOUNDARY, T, U, sure=1.0))
    assert [word.text for word in found.words] == found.text.split() == ["at", found.text.split()[-1]]
    (silence,) = decoder(tokenizer).decode_phones(posteriors(BLANK, BLANK, sure=1.0))
    assert (silence.text, silence.words) == ("", [])


def test_alternatives_differ_in_text_best_first(tokenizer: TextTokenizer) -> None:
    log_probs = posteriors(BLANK, S, BLANK, AE, T, sure=0.6, other=BLANK)
    found = decoder(tokenizer, n_best=2).decode_phones(log_probs)
    assert [each.text for each in found] == ["sat", "at"]
    assert found[0].score > found[1].score
    assert [[word.text for word in each.words] for each in found] == [["sat"], ["at"]]


def test_a_hot_word_is_preferred_to_its_homophone(tokenizer: TextTokenizer) -> None:
    spoken = posteriors(AE, T, BOUNDARY, N, AI, T)
    assert decoder(tokenizer, hotwords={"knight": 3.0}).decode_phones(spoken)[0].text == "at knight"
    assert decoder(tokenizer, hotwords={"two knight": 0.3}).decode_phones(spoken)[0].text == "at night"


def test_a_hot_word_that_the_lexicon_lacks_is_pronounced_by_espeak(tokenizer: TextTokenizer) -> None:
    zed = pronunciations(["zed"])["zed"]
    spoken = posteriors(AE, T, BOUNDARY, *zed)
    assert decoder(tokenizer).decode_phones(spoken)[0].text != "at zed"
    assert decoder(tokenizer, hotwords={"zed": 3.0}).decode_phones(spoken)[0].text == "at zed"


def test_when_phones_are_read(tokenizer: TextTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(words: list[str]) -> dict[str, bytes]:
        raise VelocityError("espeak-ng is missing")

    monkeypatch.setattr(decoding, "pronunciations", not_installed)
    write_arpa(tables(), tmp_path / "lm.arpa")
    plain = NGram.of(replace(tables(), pronunciations=None))
    reads = lambda **options: Decoder(tokenizer, FRAME, **options).reads_phones  # noqa: E731
    lm = NGram.of(tables())
    assert reads(lm=lm)
    assert reads(lm=lm, hotwords={"two knight": 1.0}, n_best=3, beam=8)
    assert not reads()
    assert not reads(hotwords={"night": 1.0})
    assert not reads(lm=plain)
    assert not reads(lm=NGram(tmp_path / "lm.arpa"))
    assert not reads(lm=lm, hotwords={"night": 1.0, "at zanzibar": 1.0}), "of a word that the lexicon lacks"
    assert not reads(lm=lm, hotwords={"the knight": 1.0}), "of a word without a pronunciation"


def test_hot_words_are_pronounced_when_phones_are_read(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model without phones needs no espeak-ng for its hot words."""
    asked = []
    monkeypatch.setattr(decoding, "pronunciations", lambda words: asked.extend(words) or {})
    found = decoder(tokenizer, hotwords={"zanzibar": 1.0})
    assert found.decode(np.log(np.full((3, len(found.pieces)), 1 / len(found.pieces))))
    assert not asked
    assert not found.reads_phones
    assert asked == ["zanzibar"]
    with pytest.raises(ValueError, match="needs a language model with pronunciations"):
        found.decode_phones(posteriors(AE, T))
