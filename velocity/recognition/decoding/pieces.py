"""The text of each CTC class: a letter or several, possibly with a space in front."""

from __future__ import annotations

from velocity.text import TextTokenizer


def pieces(tokenizer: TextTokenizer) -> list[str]:
    """Class → its text, ``""`` for the blank and the unknown. A space in front means that a word begins.

    Decoding strips the ends of a text, so each class is decoded between two classes of one letter without a space.
    """
    anchor = next(c for c in range(tokenizer.vocabulary) if len(tokenizer.decode([c, c])) == 2)
    return [tokenizer.decode([anchor, c, anchor])[1:-1] for c in range(tokenizer.vocabulary)]
