"""Pronunciations in a language model and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.errors import VelocityError
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.language_model.additions import with_words
from velocity.recognition.language_model.arpa import read_arpa, write_arpa
from velocity.recognition.language_model.file import file_size, read_file, write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.pruning import fit, losses, prune, pruned_size, quantise
from velocity.recognition.language_model.tables import SPECIAL, Tables

MODEL = estimate(["the cat sat", "the cat ran", "a dog sat", "the dog ran off"], 3)
WORDS = len(MODEL.words) - len(SPECIAL)
PHONES = st.binary(max_size=6).map(lambda drawn: bytes(2 + byte % (CLASSES - 2) for byte in drawn))


def pronounced(sounds: list[bytes]) -> Tables:
    return replace(MODEL.tables(), pronunciations=[b"", b"", b"", *sounds])


@given(st.lists(PHONES, min_size=WORDS, max_size=WORDS))
def test_the_file_gives_them_back(tmp_path_factory: pytest.TempPathFactory, sounds: list[bytes]) -> None:
    tables, folder = pronounced(sounds), tmp_path_factory.mktemp("lm")
    for name in ("one.lm", "again.lm"):
        write_file(tables, folder / name)
    found = read_file(folder / "one.lm")
    assert (found.pronunciations, found.words) == (tables.pronunciations, tables.words)
    assert (folder / "one.lm").read_bytes() == (folder / "again.lm").read_bytes()
    assert (folder / "one.lm").stat().st_size <= file_size(tables)
    model = NGram(folder / "one.lm")
    assert [model.pronunciation(word) for word in MODEL.words] == tables.pronunciations
    assert model.pronunciation("zebra") == b""


def test_a_model_of_no_words_has_none_and_one_of_one_word_may_have_one(tmp_path: Path) -> None:
    for sentences, sounds in (([""], []), (["a"], [b""]), (["a"], [b"\2"])):
        tables = replace(estimate(sentences, 2).tables(), pronunciations=[b"", b"", b"", *sounds])
        write_file(tables, tmp_path / "small.lm")
        assert read_file(tmp_path / "small.lm").pronunciations == tables.pronunciations


def test_files_without_them_are_read_as_before(tmp_path: Path) -> None:
    write_file(MODEL.tables(), tmp_path / "plain.lm")
    assert b"pronunciations" not in (tmp_path / "plain.lm").read_bytes()
    model = NGram(tmp_path / "plain.lm")
    assert (model.pronounces, model.pronunciation("cat")) == (False, b"")
    write_arpa(pronounced([b"\2"] * WORDS), tmp_path / "lm.arpa")
    assert read_arpa(tmp_path / "lm.arpa").pronunciations is None


@pytest.mark.parametrize(
    "sounds",
    [[b"\2"] * (WORDS - 1), [b"\2"] * (WORDS + 1), *([bytes([2, bad])] * WORDS for bad in (BLANK, BOUNDARY, CLASSES))],
)
def test_a_forged_file_is_refused(tmp_path: Path, sounds: list[bytes]) -> None:
    write_file(pronounced(sounds), tmp_path / "forged.lm")
    with pytest.raises(VelocityError, match=r"forged\.lm: its header does not fit"):
        NGram(tmp_path / "forged.lm")


def test_pruning_keeps_them_and_counts_them() -> None:
    sounds = [b"", b"", b"", *(bytes(2 + (7 * word + place) % 40 for place in range(90)) for word in range(WORDS))]
    spoken = replace(MODEL, pronunciations=sounds)
    everything = [each > -1 for each in losses(MODEL)]
    masks = [MODEL.counts[0].count >= 0, *everything]
    more = pruned_size(spoken)(masks) - pruned_size(MODEL)(masks)
    assert more == file_size(spoken.tables()) - file_size(MODEL.tables()) > 90
    kept = quantise(prune(spoken, fit(spoken, pruned_size(spoken), 10**6)))
    assert kept.pronunciations == sounds


def test_new_words_bring_theirs() -> None:
    sounds = {word: bytes([2 + number]) for number, word in enumerate(MODEL.words[len(SPECIAL) :])}
    tables, asked = pronounced(list(sounds.values())), []

    def pronounce(words: list[str]) -> dict[str, bytes]:
        asked.extend(words)
        return {"aardvark": b"\x09\x0a"}

    more = with_words(tables, ["cat", "aardvark", "zz"], 0.1, pronounce)
    assert asked == ["aardvark", "zz"]
    found = dict(zip(more.words, more.pronunciations, strict=True))
    assert found == {**dict.fromkeys(SPECIAL, b""), **sounds, "aardvark": b"\x09\x0a", "zz": b""}
    assert with_words(tables, ["zz"]).pronunciations[-1] == b""
    assert with_words(MODEL.tables(), ["zz"], 0.1, pronounce).pronunciations is None
    assert asked == ["aardvark", "zz"], "nobody asks where no word has one"
