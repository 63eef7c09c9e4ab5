"""The text normaliser, and the tokenizer that turns its output into CTC classes and back.

Wherever an error rate is quoted, the normaliser is named "velocity-english".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

from velocity.errors import VelocityError

ALPHABET = "abcdefghijklmnopqrstuvwxyz'"
BLANK, UNKNOWN = 0, 1  # pieces of every tokenizer; the blank of CTC (Graves et al. 2006) comes first
WORD_START = "▁"  # how sentencepiece writes a space
ENOUGH_TEXTS = 500_000  # more texts hardly change the pieces

CURRENCIES = {"$": "dollar", "£": "pound", "€": "euro"}
SYMBOLS = {"&": " and ", "%": " percent ", "+": " plus ", "@": " at ", "°": " degrees "}
APOSTROPHES = str.maketrans(dict.fromkeys("’‘`´ʼ", "'"))
LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th"})

NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
MONEY = re.compile(rf"([$£€])\s?({NUMBER})")
TIME = re.compile(r"\b(\d{1,2}):([0-5]\d)\b")
DECADE = re.compile(r"\b(\d+0)'?s\b")
ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
PLAIN = re.compile(NUMBER)
LONGEST_READ_AS_NUMBER = 15  # digits; a longer run is read digit by digit


def normalize(text: str) -> str:
    """English text → only a–z, apostrophes inside words, and single spaces ("velocity-english").

    In this order: NFKC and lower case; accents removed (``café`` → ``cafe``); ``$5`` → ``five dollars``, ``%`` →
    ``percent``, ``&`` → ``and``; ``7:05`` → ``seven oh five``, ``7:00`` → ``seven o'clock``; ``1990s`` → ``nineteen
    nineties``; ``21st`` → ``twenty first``; four digits from 1100 to 2099 without a comma as a year (``1984`` →
    ``nineteen eighty four``), other numbers as cardinals with "and" (``1,984`` → ``one thousand nine hundred and
    eighty four``), decimals digit by digit after ``point``, a leading zero (``007``) digit by digit. Hyphens and all
    other signs become spaces. Words in another script are dropped: see ``foreign_letters``. Idempotent.
    """
    text = _fold(text)
    if any(character.isdigit() for character in text):
        text = MONEY.sub(_money, text)
        text = TIME.sub(_time, text)
        text = DECADE.sub(_decade, text)
        text = ORDINAL.sub(lambda match: f" {_words(int(match[1]), to='ordinal')} ", text)
        text = PLAIN.sub(lambda match: f" {_number(match[0])} ", text)
    for symbol, word in SYMBOLS.items():
        text = text.replace(symbol, word)
    text = re.sub(r"[^a-z']+", " ", text)
    return " ".join(word for word in (part.strip("'") for part in text.split()) if word)


def foreign_letters(text: str) -> str:
    """The letters that ``normalize`` drops, in order: without them a transcript no longer matches the audio."""
    return "".join(letter for letter in _fold(text) if letter.isalpha() and letter not in ALPHABET)


def _fold(text: str) -> str:
    if text.isascii():  # most English text; the rest takes ten times as long and would change nothing
        return text.lower().translate(APOSTROPHES)
    text = unicodedata.normalize("NFKC", text).casefold().translate(APOSTROPHES)
    text = unicodedata.normalize("NFKD", text.translate(LIGATURES)).translate(APOSTROPHES)
    text = "".join(character for character in text if not unicodedata.combining(character))
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)


def _words(number: int | float, to: str = "cardinal") -> str:
    from num2words import num2words

    return num2words(number, lang="en", to=to).replace("-", " ").replace(",", "")


def _digits(text: str) -> str:
    return " ".join(_words(int(digit)) for digit in text)


def _number(text: str) -> str:
    whole, _, fraction = text.partition(".")
    if fraction:
        return f"{_cardinal(whole)} point {_digits(fraction)}"
    if len(whole) == 4 and 1100 <= int(whole) <= 2099:
        return _words(int(whole), to="year")
    return _cardinal(whole)


def _cardinal(text: str) -> str:
    text = text.replace(",", "")
    if len(text) > LONGEST_READ_AS_NUMBER or (len(text) > 1 and text.startswith("0")):
        return _digits(text)
    return _words(int(text))


def _money(match: re.Match[str]) -> str:
    unit, (whole, _, cents) = CURRENCIES[match[1]], match[2].partition(".")
    words = f" {_cardinal(whole)} {unit}{'' if whole == '1' else 's'} "
    return words + (f"{_cardinal(cents.lstrip('0') or '0')} " if cents.strip("0") else "")


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if minute == 0:
        return f" {_words(hour)} o'clock "
    return f" {_words(hour)} {'oh ' if minute < 10 else ''}{_words(minute)} "


def _decade(match: re.Match[str]) -> str:
    words = _number(match[1])
    return f" {words.removesuffix('y')}ies " if words.endswith("y") else f" {words}s "


class TextTokenizer:
    """A sentencepiece model. Class 0 is the blank of CTC, class 1 the unknown character; there is no start or end."""

    blank = BLANK

    def __init__(self, path: str | Path) -> None:
        """Raises VelocityError when ``path`` is missing or not a tokenizer of this project."""
        import sentencepiece

        if not Path(path).is_file():
            raise VelocityError(f"{path}: no such tokenizer")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except RuntimeError as error:
            raise VelocityError(f"{path}: not a sentencepiece model") from error
        if self._model.pad_id() != BLANK or self._model.unk_id() != UNKNOWN:
            raise VelocityError(f"{path}: its first pieces are not <blank> and <unk>; train it with the stage prepare")

    @property
    def vocabulary(self) -> int:
        """The number of classes, including the blank."""
        return self._model.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Normalised text → classes, without blanks."""
        return self._model.encode(text)

    def ctc_frames(self, text: str) -> int:
        """The fewest frames to which CTC can align ``text``: one per class, and a blank between equal ones."""
        classes = self.encode(text)
        return len(classes) + sum(first == second for first, second in pairwise(classes))

    def decode(self, ids: Sequence[int]) -> str:
        """Classes → text; blanks and unknown characters are dropped."""
        return self._model.decode([int(i) for i in ids if i > UNKNOWN]).strip()


def train_tokenizer(
    texts: Iterable[str], kind: Literal["characters", "bpe"], vocabulary: int, path: str | Path
) -> TextTokenizer:
    """Train on normalised ``texts`` (Kudo & Richardson 2018) and write the model to ``path``: same texts, same bytes.

    ``characters``: the whole alphabet and the space; ``vocabulary`` is ignored. ``bpe``: ``vocabulary`` pieces, from
    ENOUGH_TEXTS texts drawn in one pass.
    Raises VelocityError when there are too few texts for ``vocabulary`` pieces.
    """
    import sentencepiece

    if kind == "characters":
        # Every letter needs a class whatever the texts contain, in an order that does not depend on their counts.
        texts, vocabulary = [" ".join(ALPHABET)], len(ALPHABET) + len(WORD_START) + 2
    model = BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_draw(texts, ENOUGH_TEXTS),
            model_writer=model,
            model_type={"characters": "char", "bpe": "bpe"}[kind],
            vocab_size=vocabulary,
            character_coverage=1.0,
            required_chars=ALPHABET,
            normalization_rule_name="identity",
            add_dummy_prefix=kind == "bpe",
            pad_id=BLANK,
            pad_piece="<blank>",
            unk_id=UNKNOWN,
            unk_surface="",
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise VelocityError(
            f"prepare.tokenizer.vocabulary: {vocabulary} pieces cannot be made of this text: {reason}"
        ) from error
    Path(path).write_bytes(model.getvalue())
    return TextTokenizer(path)


def _draw(texts: Iterable[str], count: int) -> Iterator[str]:
    """A uniform sample of ``count`` texts in one pass (Vitter 1985, algorithm R), the same one each time.

    sentencepiece can sample too, but draws different texts in each process, whatever its seed.
    """
    random = Random(count)
    drawn: list[str] = []
    for index, text in enumerate(texts):
        if index < count:
            drawn.append(text)
        elif (place := random.randrange(index + 1)) < count:
            drawn[place] = text
    return iter(drawn)
