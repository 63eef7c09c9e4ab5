"""Splits: disjoint, stable when speakers come or go, of the share asked for or the parts listed."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.corpora.kinds.folder import FolderCorpus
from velocity.data.splits import OTHER_SPLIT, UNUSED_PART, Splits, split_speakers
from velocity.errors import VelocityError

MANY = {f"speaker{index}" for index in range(3000)}
# With 300 speakers none of these shares leaves a split empty, which is an error of its own.
NAMES = st.sets(st.text(alphabet="abc019-", min_size=1, max_size=6), max_size=30).map(lambda some: some | set(ENOUGH))
ENOUGH = sorted(MANY)[:300]
SHARES = st.sampled_from([0.0, 0.1, 0.25, 0.5])


@given(NAMES, NAMES, SHARES, SHARES, st.integers(0, 9))
def test_adding_speakers_moves_nobody(some, more, test, validation, seed):
    before = split_speakers("mine", some, test, validation, seed)
    after = split_speakers("mine", some | more, test, validation, seed)
    assert before.keys() == some
    assert after.keys() == some | more
    assert all(after[speaker] == split for speaker, split in before.items())


@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 99))
def test_shares_are_kept_and_a_larger_test_share_only_adds(test, validation, seed):
    splits = split_speakers("mine", MANY, test, validation, seed)
    counts = {split: list(splits.values()).count(split) / len(MANY) for split in ("test", "validation")}
    assert counts["test"] == pytest.approx(test, abs=0.05)
    assert counts["validation"] == pytest.approx(validation, abs=0.05)
    larger = split_speakers("mine", MANY, test + 0.1, validation, seed)
    assert all(larger[speaker] == "test" for speaker, split in splits.items() if split == "test")


@given(NAMES, SHARES)
def test_an_expression_takes_exactly_its_speakers(names, validation):
    splits = split_speakers("mine", names, "[05]$", validation, 1)
    assert {name for name, split in splits.items() if split == "test"} == {n for n in names if re.search("[05]$", n)}


@pytest.mark.parametrize(
    ("speakers", "test", "validation", "named"),
    [
        ({"one"}, 1.0, 0.1, r"corpus mine: its validation split is empty \(1 speakers\); change corpora\.mine\.valid"),
        ({"one", "two"}, "three", 0.0, r"its test split is empty \(2 speakers\); change corpora\.mine\.test \(0: no"),
        ({"one"}, "(", 0.0, r"corpora\.mine\.test: '\(' is not a regular expression"),
        ({"one"}, 0.0, 1.5, r"corpora\.mine\.validation: a share of the speakers is from 0 to 1, not 1\.5"),
    ],
)
def test_a_split_that_cannot_be_is_named(speakers, test, validation, named):
    with pytest.raises(VelocityError, match=named):
        split_speakers("mine", speakers, test, validation, 1)


@dataclass
class Corpus:
    """As the sections of params.yaml: ``train`` is there where a corpus has official parts."""

    test: object = 0.0
    validation: object = 0.0
    train: tuple = ()


PARTS = ("train-a", "train-b", "dev", "test-clean", "test-other")
SPOKEN = st.dictionaries(
    st.sampled_from([f"s{index}" for index in range(9)] + [f"world:{index}" for index in range(3)]),
    st.sets(st.sampled_from(PARTS), min_size=1),
    max_size=12,
)
EVERYWHERE = {"s-dev": {"dev"}, "s-clean": {"test-clean"}, "s-other": {"test-other"}, "s-train": {"train-a", "train-b"}}


@given(SPOKEN, SPOKEN, st.sampled_from(["5|7", "^nobody$|s1"]))
def test_nobody_is_in_two_splits_whatever_parts_they_speak_in(first, second, expression):
    """``first`` has parts for everything, ``second`` draws by an expression; "world:…" are the same people in both."""
    speakers = {"one": first | EVERYWHERE, "two": second | {"s1": {"dev"}, "s57": {"dev"}, "world:57": {"dev"}}}
    corpora = {
        "one": Corpus(("test-clean", "test-other"), ("dev",), ("train-a",)),
        "two": Corpus(expression),
    }
    splits = Splits(corpora, speakers, 1)
    where = {}
    for name, spoken in speakers.items():
        for speaker, parts in spoken.items():
            person = speaker if ":" in speaker else (name, speaker)
            for part in parts:
                where.setdefault(person, set()).add((name, part, splits.of(name, speaker, part)))
    for person, places in where.items():
        assert len({split.partition("-")[0] for *_, split in places} - {"unused", "speaker"}) <= 1, person
        for name, part, split in places:
            if name == "one":
                official = {"test-clean": "test-one-clean", "test-other": "test-one-other", "dev": "validation"}
                allowed = {official.get(part, "train"), OTHER_SPLIT} if part != "train-b" else {UNUSED_PART}
                assert split in allowed
                assert split != OTHER_SPLIT or not part.startswith("test")
            else:
                drawn = re.search(expression, person if isinstance(person, str) else person[1])
                assert split in {"test-two" if drawn else "train", OTHER_SPLIT}


def test_parts_give_files_of_their_own_and_a_speaker_of_a_test_part_is_nowhere_else():
    corpora = {"libri": Corpus(("test-clean",), 0.5, ("train-5", "train-10")), "web": Corpus(train=())}
    people = {f"libri:{index}": {"train-5"} for index in range(20)}
    speakers = {"libri": people | {"libri:both": {"train-10", "test-clean"}}, "web": {"libri:both": {""}, "own": {""}}}
    splits = Splits(corpora, speakers, 1)
    assert splits.of("libri", "libri:both", "test-clean") == "test-libri-clean"
    assert splits.of("libri", "libri:both", "train-10") == OTHER_SPLIT
    assert splits.of("web", "libri:both") == OTHER_SPLIT
    assert splits.of("web", "own") == "train"
    assert not splits.may_train("unlabelled", "libri:both")
    assert splits.may_train("unlabelled", "somebody")
    drawn = [splits.of("libri", speaker, "train-5") for speaker in people]
    assert 4 < drawn.count("validation") < 16
    assert set(drawn) == {"train", "validation"}


@pytest.mark.parametrize("key", ["test", "validation", "train"])
def test_a_part_that_is_not_there_is_named(key):
    named = rf"corpora\.mine\.{key}: 'test-claen' is no part of this corpus; it has dev, test-clean"
    with pytest.raises(VelocityError, match=named):
        Splits({"mine": Corpus(**{key: ("test-claen",)})}, {"mine": {"a": {"dev", "test-clean"}}}, 1)


def test_speakers_come_from_the_manifests_of_the_labelled_corpora(tmp_path):
    (tmp_path / "mine").mkdir()
    lines = [f'{{"speaker": "s{index % 40}", "custom": {{"corpus": "mine"}}}}\n' for index in range(200)]
    (tmp_path / "mine/supervisions.jsonl").write_text("".join(lines))
    corpora = {
        "mine": FolderCorpus(kind="folder", source="speech", test=0.3, validation=0.2),
        "plain": FolderCorpus(kind="folder", source="more", labelled=False),
    }
    splits = Splits.read(corpora, tmp_path, 3)
    expected = split_speakers("mine", {f"s{index}" for index in range(40)}, 0.3, 0.2, 3)
    names = {"train": "train", "validation": "validation", "test": "test-mine"}
    assert {speaker: splits.of("mine", speaker) for speaker in expected} == {
        speaker: names[split] for speaker, split in expected.items()
    }
