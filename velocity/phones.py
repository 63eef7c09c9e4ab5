"""Phones: what a model's second CTC head tells apart, and how words are pronounced in them.

The inventory is espeak-ng's American English without stress, with its rare variants merged. A pronunciation is a byte
string of classes, so that it can be sorted, looked up by its beginning, and stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from threading import Lock

BLANK, BOUNDARY = 0, 1  # of CTC; between words, as the space is between letters
PHONES = (  # noqa: SIM905
    "I n s t @ l d k r z i: m 3: E a p b eI N f 0 V oU v g aI u: S w dZ h O@ tS O: A@ j i@ T aU U e@ OI D aI@ U@ Z"
).split()
CLASSES = 2 + len(PHONES)
VOICE = "en-us"  # of espeak-ng
MERGED = {
    "I#": "I", "I2": "I", "@2": "@", "a#": "@", "0#": "@", "t#": "t", "t2": "t", "?": "t", "i": "i:", "3": "3:",
    "O2": "O:", "aa": "a", "o@": "O@", "i@3": "i@", "aI3": "aI@", "x": "k", "C": "h", "A:": "0", "O": "0", "@L": "@ l",
    "l#": "l", "tSr": "tS r", "e": "E", "a:": "a", "A~": "0 n", "O~": "O: n",
}  # fmt: skip
WEAK = {"a": "@", "the": "D @"}  # pronounced alone, as espeak-ng is asked for them, these words are never
LOCK = Lock()  # espeak-ng has one state a process
MARKS = re.compile(r"[',%=|;!\s]|-$|\(.*?\)")  # stress, length and change of language


def pronunciations(words: Iterable[str]) -> dict[str, bytes]:
    """Normalised word → the classes of its phones; words without any are left out.

    Raises VelocityError where espeak-ng is not installed (extra ``train``).
    """
    from velocity.espeak import espeak

    number, found = {phone: 2 + index for index, phone in enumerate(PHONES)}, {}
    with LOCK:
        library = espeak()
        for word in words:
            mnemonics = WEAK[word].split() if word in WEAK else library.phonemes(word, VOICE)
            names = (name for each in mnemonics for name in _merged(each).split())
            if classes := bytes(number[name] for name in names if name in number):
                found[word] = classes
    return found


def _merged(mnemonic: str) -> str:
    name = MARKS.sub("", mnemonic)
    return MERGED.get(name, name)


def transcribe(text: str, lexicon: dict[str, bytes]) -> bytes:
    """The classes of a normalised text, with BOUNDARY between words; words that ``lexicon`` lacks are left out."""
    return bytes([BOUNDARY]).join(lexicon[word] for word in text.split() if word in lexicon)
