"""What each CTC class writes: a letter, or a piece of several, perhaps with the space before it."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """What decoding asks of a tokenizer (``velocity.text.TextTokenizer``)."""

    blank: int

    @property
    def vocabulary(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


def pieces(tokenizer: Tokenizer) -> list[str]:
    """Class → the text it adds, ``""`` for the blank and the unknown. A space in front says that a word begins here.

    Decoding strips the ends of a text, so each class is decoded between two that write one letter and no space.
    """
    anchor = next(c for c in range(tokenizer.vocabulary) if len(tokenizer.decode([c, c])) == 2)
    return [tokenizer.decode([anchor, c, anchor])[1:-1] for c in range(tokenizer.vocabulary)]
