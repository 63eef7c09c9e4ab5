"""Pronunciations of words by espeak-ng, in the model's inventory of phones."""

from __future__ import annotations

import pytest

from velocity.phones import BOUNDARY, CLASSES, MERGED, PHONES, WEAK, pronunciations, transcribe


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("judge", "dZ V dZ"),
        ("church", "tS 3: tS"),
        ("water", "w O: t 3:"),  # the flap of American English is a t
        ("the", "D @"),
        ("isn't", "I z @ n t"),
    ],
)
def test_words_are_pronounced_in_the_inventory(word: str, phones: str) -> None:
    assert [PHONES[number - 2] for number in pronunciations([word])[word]] == phones.split()


def test_homophones_have_one_pronunciation() -> None:
    found = pronunciations(["night", "knight", "two", "too", "their", "there"])
    assert found["night"] == found["knight"]
    assert found["two"] == found["too"]
    assert found["their"] == found["there"]


def test_what_is_merged_is_in_the_inventory() -> None:
    assert len(set(PHONES)) == len(PHONES) == CLASSES - 2
    assert {name for names in (*MERGED.values(), *WEAK.values()) for name in names.split()} <= set(PHONES)
    assert not set(MERGED) & set(PHONES)


def test_a_text_has_boundaries_between_its_words_and_none_for_unknown_ones() -> None:
    lexicon = {"a": b"\x05", "cat": b"\x0a\x11\x06"}
    assert transcribe("a cat", lexicon) == b"\x05" + bytes([BOUNDARY]) + b"\x0a\x11\x06"
    assert transcribe("zzz cat", lexicon) == lexicon["cat"]
    assert transcribe("zzz", lexicon) == transcribe("", lexicon) == b""
