"""Splits: disjoint, stable when speakers come or go, of the share asked for or the parts listed."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.corpora.kinds.folder import FolderCorpus
from velocity.data.splits import BY_UTTERANCE, OTHER_SPLIT, UNUSED_PART, Splits, split_speakers
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
        (set(), 0.0, 0.1, r"corpus mine: its validation split is empty \(0 speakers\); change corpora\.mine\.valid"),
        ({"one", "two"}, "three", 0.0, r"its test split is empty \(2 speakers\); change corpora\.mine\.test \(0: no"),
    ],
)
def test_a_split_that_cannot_be_is_named(speakers, test, validation, named):
    with pytest.raises(VelocityError, match=named):
        split_speakers("mine", speakers, test, validation, 1)


def by_hash_alone(speakers, test, validation, seed):
    """Reference: the first 53 bits of SHA-256, a speaker at a time; it leaves splits empty when there are few."""

    def split(speaker):
        place = (int.from_bytes(sha256(f"{seed}/mine/{speaker}".encode()).digest()[:8], "big") >> 11) / 2**53
        return "test" if place < test else "validation" if place < test + validation else "train"

    return {speaker: split(speaker) for speaker in speakers}


FEW = st.sets(st.text(alphabet="abc019", min_size=1, max_size=4), min_size=3, max_size=20)
SHARE = st.sampled_from([0.001, 0.05, 0.1, 0.3, 0.45])


@given(FEW, SHARE, SHARE, st.integers(0, 99))
def test_three_speakers_are_enough_for_three_splits(speakers, test, validation, seed):
    """Whom the hash alone would place stays there, but for as many as there would be empty splits."""
    splits = split_speakers("mine", speakers, test, validation, seed)
    assert set(splits) == speakers
    assert set(splits.values()) == {"train", "validation", "test"}
    reference = by_hash_alone(speakers, test, validation, seed)
    empty = {"train", "validation", "test"} - set(reference.values())
    assert sum(splits[speaker] != reference[speaker] for speaker in speakers) == len(empty)


def test_the_command_of_the_readme_with_ten_speakers():
    """74 % of the draws ended in "split is empty"."""
    for seed in range(100):
        counts = Counter(split_speakers("mine", map(str, range(10)), 0.1, 0.05, seed).values())
        assert counts["train"] >= 5
        assert min(counts["test"], counts["validation"]) >= 1


@pytest.mark.parametrize(
    ("speakers", "test", "validation", "expected"),
    [
        (["a", "b"], 0.01, 0, {"train", "test"}),  # two for two
        (["a", "b"], 0.01, 0.01, {BY_UTTERANCE}),
        (["a"], 0.01, 0, {BY_UTTERANCE}),
        (["a"], 0, 0, {"train"}),
        (["a"], 1.0, 0, {"test"}),
        (["a", "b"], 0.5, 0.5, {"test", "validation"}),  # none is to be trained on
        (["a", "b", "c"], "a", 0.01, {"test", "validation", "train"}),
        (["a", "b"], "a", 0.01, {"test", BY_UTTERANCE}),
        (["a", "b"], "a", 0, {"test", "train"}),
        (["a"], "a", 0, {"test"}),
    ],
)
def test_fewer_speakers_than_splits_are_split_by_utterance(speakers, test, validation, expected):
    for seed in range(10):
        assert set(split_speakers("mine", speakers, test, validation, seed).values()) == expected


def spoken_by(speakers, each=20):
    return [(f"mine/{speaker}-{index}", speaker, "") for speaker in speakers for index in range(each)]


@given(st.integers(1, 2), st.integers(3, 40), st.integers(0, 99))
def test_each_split_gets_an_utterance_where_speakers_are_too_few(count, each, seed):
    speakers = {f"s{index}": {""} for index in range(count)}
    utterances = spoken_by(speakers, each)
    corpora = {"mine": Corpus(0.1, 0.05)}
    splits = Splits(corpora, {"mine": speakers}, seed, lambda corpus: utterances)
    assert splits.by_utterance == {"mine": count}
    found = {name: splits.of("mine", speaker, part, name) for name, speaker, part in utterances}
    assert set(found.values()) == {"train", "validation", "test-mine"}
    again = Splits(corpora, {"mine": speakers}, seed, lambda corpus: reversed(utterances))
    assert found == {name: again.of("mine", speaker, part, name) for name, speaker, part in utterances}
    more = Splits(corpora, {"mine": speakers}, seed, lambda corpus: [*utterances, ("mine/new", "s0", "")])
    changed = sum(more.of("mine", speaker, part, name) != found[name] for name, speaker, part in utterances)
    assert changed <= 2  # whom the new one relieves; the others stay


def test_too_few_utterances_are_named():
    with pytest.raises(
        VelocityError, match=r"corpus mine: 2 utterances of too few speakers for test and validation and"
    ):
        Splits({"mine": Corpus(0.1, 0.05)}, {"mine": {"a": {""}}}, 1, lambda corpus: spoken_by("a", 2))


def test_a_person_who_is_tested_elsewhere_is_trained_on_nowhere_though_split_by_utterance():
    corpora = {"libri": Corpus(("test-clean",), 0, ("train-5",)), "web": Corpus(0.3, 0.0)}
    speakers = {"libri": {name: {"train-5"} for name in ("libri:2", "libri:3")}, "web": {"libri:2": {""}}}
    speakers["libri"]["libri:1"] = {"test-clean"}
    utterances = [(f"web/{index}", "libri:2", "") for index in range(20)]
    splits = Splits(corpora, speakers, 1, lambda corpus: utterances)
    assert {splits.of("web", "libri:2", "", name) for name, *_ in utterances} == {"train", "test-web"}
    speakers["libri"]["libri:2"] = {"test-clean"}
    with pytest.raises(VelocityError, match=r"its test split is empty \(0 speakers\)"):
        Splits(corpora, speakers, 1, lambda corpus: utterances)


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
    (tmp_path / "lone").mkdir()
    alone = [{"id": f"lone/{index}", "speaker": "s1", "custom": {"corpus": "lone"}} for index in range(50)]
    (tmp_path / "lone/supervisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in alone))
    (tmp_path / "mine/supervisions.jsonl").write_text("".join(lines))
    corpora = {
        "mine": FolderCorpus(kind="folder", source="speech", test=0.3, validation=0.2),
        "lone": FolderCorpus(kind="folder", source="other"),
        "plain": FolderCorpus(kind="folder", source="more", labelled=False),
    }
    splits = Splits.read(corpora, tmp_path, 3)
    expected = split_speakers("mine", {f"s{index}" for index in range(40)}, 0.3, 0.2, 3)
    names = {"train": "train", "validation": "validation", "test": "test-mine"}
    assert {speaker: splits.of("mine", speaker) for speaker in expected} == {
        speaker: names[split] for speaker, split in expected.items()
    }
    drawn = Counter(splits.of("lone", "s1", "", line["id"]) for line in alone)
    assert set(drawn) == {"train", "validation", "test-lone"}
    assert drawn["train"] > 35
