"""The sentences that come with the package, and those of a user."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from velocity.commands.record import SHIPPED, read_prompts
from velocity.errors import VelocityError
from velocity.text import ALPHABET, normalize

CONSONANTS = "p b t d k ɡ f v θ ð s z ʃ ʒ tʃ dʒ h m n ŋ l ɹ j w"  # of General American, in the IPA of espeak-ng
VOWELS = "iː ɪ ɛ æ ɑː ɔː ʊ uː ʌ ə ɜː eɪ aɪ ɔɪ oʊ aʊ ɪɹ ɛɹ ɑːɹ ɔːɹ ʊɹ"


def test_the_sentences_are_plain_words_and_none_comes_twice() -> None:
    lines = SHIPPED.read_text(encoding="ascii").splitlines()
    assert [normalize(line) for line in lines] == [line.lower() for line in lines]
    assert len({line.lower() for line in lines}) == len(lines) == 160
    assert all(7 <= len(line.split()) <= 14 for line in lines)
    assert all(line[0].isupper() and not re.search(r"\bi\b", line) for line in lines)
    assert read_prompts(SHIPPED) == lines


def test_the_sentences_hold_every_letter_and_every_phone_of_english() -> None:
    text = SHIPPED.read_text(encoding="ascii")
    assert set(ALPHABET) <= set(text.lower())
    found = phones(text.splitlines())
    assert {phone for phone in f"{CONSONANTS} {VOWELS}".split() if found.count(phone) < 3} == set()


def phones(lines: list[str]) -> list[str]:
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    assert library.espeak_Initialize(2, 0, str(espeakng_loader.get_data_path()).encode(), 0) > 0
    assert library.espeak_SetVoiceByName(b"en-us") == 0
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    ipa, utf8, parted = 2, 1, ord("_") << 8  # speak_lib.h
    found: list[str] = []
    for line in lines:
        text = ctypes.c_char_p(line.encode())
        while text.value:
            words = library.espeak_TextToPhonemes(ctypes.byref(text), utf8, parted | ipa).decode()
            found += re.split("[_ ]+", re.sub("[ˈˌ]", "", words))
    return found


def test_a_file_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_bytes("\ufeffWhere's  the café?\r\n\n\tTurn left!\nturn left\n".encode())
    assert read_prompts(path) == ["Where's the café?", "Turn left!"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no sentences"),
        (b" \n\n", "no sentences"),
        (b"fine\n\xff\n", "not UTF-8 (byte 5)"),
        (b"fine\n\n-- ... --\n", "line 3: no words in '-- ... --'"),
        ("fine\nпривет\n".encode(), "line 2: 'п' is not an English letter"),
        (None, "no such file"),
    ],
)
def test_a_bad_file_of_sentences_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VelocityError, match=r"bad\.txt") as raised:
        read_prompts(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
