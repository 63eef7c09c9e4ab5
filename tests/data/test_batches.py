"""Batches: a position says all, memory holds one block, processes share an epoch, features are the audio's."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from tests.augmentation import augmentation, only
from tests.data.speech import save_cuts, speak
from velocity.audio import compute_mel_spectrogram
from velocity.data import batches
from velocity.data.batches import START, Loader, Position, plan_batches
from velocity.data.shards import load_cut
from velocity.errors import VelocityError
from velocity.text import TextTokenizer, train_tokenizer


def metadata(number: int, seconds: float) -> MonoCut:
    """A cut whose audio nobody will read."""
    name = f"u{number:05d}"
    source = AudioSource("file", [0], f"{name}.flac")
    recording = Recording(name, [source], 16_000, round(seconds * 16_000), seconds)
    segment = SupervisionSegment(name, name, 0.0, seconds, text="a", speaker="s")
    return MonoCut(name, 0.0, seconds, 0, supervisions=[segment], recording=recording)


def write_manifest(path: Path, utterances: int, seed: int = 0) -> Path:
    lengths = np.random.default_rng(seed).uniform(1.0, 15.0, utterances).round(2)
    save_cuts([metadata(number, float(seconds)) for number, seconds in enumerate(lengths)], path)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("metadata") / "train.jsonl", 230)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(batches, "BLOCK", 50)  # 230 utterances: four blocks, the last with the rest of 30


def plan(path: Path, count: int, **changes) -> list[tuple[Position, list[str]]]:
    arguments = {"batch_seconds": 40.0, "seed": 1, **changes}
    return [(position, [cut.id for cut in cuts]) for position, cuts in islice(plan_batches(path, **arguments), count)]


def epochs(path: Path, number: int, **changes) -> list[list[tuple[Position, list[str]]]]:
    """The batches of the first epochs."""
    found: list[list[tuple[Position, list[str]]]] = [[] for _ in range(number)]
    for position, cuts in plan_batches(path, **{"batch_seconds": 40.0, "seed": 1, **changes}):
        if position.epoch == number:
            return found
        found[position.epoch].append((position, [cut.id for cut in cuts]))


def output(batches: list[tuple[Position, list[str]]]) -> Counter:
    return Counter(name for _, ids in batches for name in ids)


def test_an_epoch_hears_everybody_once_in_an_order_of_its_own(manifest):
    first, second = epochs(manifest, 2)
    assert output(first) == output(second) == Counter({f"u{number:05d}": 1 for number in range(230)})
    assert [ids for _, ids in first] != [ids for _, ids in second]


def test_a_batch_keeps_to_its_seconds_and_to_similar_lengths(manifest):
    lengths = {cut["id"]: cut["duration"] for cut in map(json.loads, manifest.read_text().splitlines())}
    (epoch,) = epochs(manifest, 1)
    padding = 0.0
    for _, ids in epoch:
        *_, last_but_one, longest = sorted([0.0, *(lengths[name] for name in ids)])
        assert len(ids) * last_but_one <= 40.0, "only the utterance that closes a batch may be longer than thought"
        padding += sum(longest - lengths[name] for name in ids)
    assert padding < 0.35 * sum(lengths.values()), "unsorted batches of these lengths are padded by about a half"


WHOLE = 260  # batches: more than two epochs


@settings(max_examples=15)
@given(done=st.integers(0, WHOLE - 20))
def test_a_training_goes_on_from_any_position(manifest, done):
    whole = plan(manifest, WHOLE)
    start = whole[done - 1][0].following() if done else START
    assert plan(manifest, 10, start=Position(*json.loads(json.dumps(start)))) == whole[done : done + 10]


def test_a_training_goes_on_behind_the_last_batch_of_a_block_and_of_an_epoch(manifest):
    whole = plan(manifest, WHOLE)
    borders = [index for index in range(1, WHOLE - 5) if whole[index][0].batch == 0]
    assert {whole[index][0].epoch for index in borders} >= {0, 1, 2}
    for index in borders:
        assert plan(manifest, 5, start=whole[index - 1][0].following()) == whole[index : index + 5]


def test_to_go_on_reads_one_block(manifest, monkeypatch):
    whole = plan(manifest, WHOLE)
    read, original = [], batches._read_block
    monkeypatch.setattr(batches, "_read_block", lambda *block: read.append(block) or original(*block))
    late = next(index for index in range(WHOLE) if whole[index][0][:2] == (2, 1))
    assert plan(manifest, 1, start=whole[late + 1][0]) == [whole[late + 1]]
    assert len(read) == 1


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_an_epoch(manifest, world_size):
    shares = [epochs(manifest, 2, rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch in range(2):
        parts = [share[epoch] for share in shares]
        assert len({len(part) for part in parts}) == 1, "a process without a batch would keep the others waiting"
        everybody = sum((output(part) for part in parts), Counter())
        first = Counter({name: times for name, times in everybody.items() if "_dup" not in name})
        assert first == output(epochs(manifest, 1)[0])
        assert everybody.total() - first.total() < 4 * world_size, "some are output twice where a block ends, no more"


@settings(max_examples=30)
@given(st.integers(1, 160))
def test_every_size_of_corpus_is_output(tmp_path_factory, utterances):
    path = write_manifest(tmp_path_factory.mktemp("sizes") / "train.jsonl", utterances)
    (epoch,) = epochs(path, 1)
    assert sum(output(epoch).values()) == len(output(epoch)) == utterances


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file or directory"), ("", "no utterances"), ('{"id": "a', "not a manifest of cuts"),
     ('{"x": 1}\n', "not a manifest of cuts"), ("[]\n", "not a manifest of cuts")],
)  # fmt: skip
def test_a_faulty_manifest_is_named(tmp_path, content, message):
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(VelocityError, match=rf"train.jsonl: .*{message}") as caught:
        next(plan_batches(path, 40.0, 1))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    return train_tokenizer(["a"], "characters", 0, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


@pytest.fixture(scope="module")
def cuts(tmp_path_factory) -> list[MonoCut]:
    return speak(tmp_path_factory.mktemp("audio"), 70)


@pytest.fixture(scope="module")
def spoken(cuts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spoken") / "train.jsonl"
    save_cuts(cuts, path)
    return path


def training(loader: Loader, path: Path, count: int, start: Position = START) -> list[batches.Batch]:
    return list(islice(loader.training(path, 4.0, start), count))


def same(one: batches.Batch, two: batches.Batch) -> bool:
    tensors = ("features", "lengths", "targets", "target_lengths")
    equal = all(torch.equal(getattr(one, name), getattr(two, name)) for name in tensors)
    return equal and one.ids == two.ids and one.position == two.position


def test_batches_and_distortions_follow_from_the_position_whatever_the_threads(spoken, tokenizer):
    settings = augmentation()
    whole = training(Loader(tokenizer, 1, settings, threads=1), spoken, 40)
    many = Loader(tokenizer, 1, settings, threads=4)
    assert whole[-1].position.epoch > 0
    for done in (1, 17, 30):
        resumed = training(many, spoken, 10, whole[done - 1].position.following())
        assert all(map(same, resumed, whole[done:]))
    other = training(Loader(tokenizer, 2, settings), spoken, 10)
    assert not any(map(same, other, whole))


def test_the_first_epoch_is_not_distorted(spoken, tokenizer):
    settings = augmentation(noise=1.0, quiet=0.5, joined=0.5)
    clean, always, never = (
        Loader(tokenizer, 1, settings, ramp=1),
        Loader(tokenizer, 1, settings),
        Loader(tokenizer, 1),
    )
    assert all(map(same, training(clean, spoken, 6), training(never, spoken, 6)))
    second = Position(1, 0, 0)
    found, expected = (training(loader, spoken, 6, second) for loader in (clean, always))
    assert all(map(same, found, expected))
    assert not any(map(same, expected, training(never, spoken, 6, second)))


def test_the_share_of_distorted_batches_rises_with_the_epochs(spoken, tokenizer):
    loader = Loader(tokenizer, 1, augmentation(noise=1.0), ramp=4)
    positions = [[Position(epoch, block, batch) for block in range(10) for batch in range(50)] for epoch in range(6)]
    shares = [sum(map(loader._augments, each)) / len(each) for each in positions]
    assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], abs=0.06)
    assert (shares[0], shares[4:]) == (0, [1, 1])
    plain = Loader(tokenizer, 1)
    third = Position(2, 0, 0)
    for batch, undistorted in zip(training(loader, spoken, 20, third), training(plain, spoken, 20, third), strict=True):
        assert same(batch, undistorted) != batch.augmented == loader._augments(batch.position)


def test_processes_make_the_batches_that_threads_make(spoken, tokenizer):
    settings = augmentation(noise=0.5, rooms=0.5, simulated_rooms=2)
    arguments = (tokenizer, 1, settings)
    start = Position(epoch=1, block=0, batch=1)
    expected = training(Loader(*arguments), spoken, 6, start)
    assert all(map(same, training(Loader(*arguments, processes=2), spoken, 6, start), expected))


def test_joined_utterances_are_those_of_the_batch_one_after_another(spoken, cuts, tokenizer):
    by_id = {cut.id: cut for cut in cuts}
    settings = only(joined=1.0, quiet_seconds=[0.3, 0.3])
    alone, joined = (training(Loader(tokenizer, 1, each), spoken, 6) for each in (only(), settings))
    together = 0
    for plain, batch in zip(alone, joined, strict=True):
        assert [name for group in batch.ids for name in group.split("+")] == plain.ids
        assert batch.position == plain.position
        for row, group in enumerate(batch.ids):
            parts = [by_id[name] for name in group.split("+")]
            samples = sum(cut.num_samples for cut in parts) + (len(parts) - 1) * 4_800
            assert abs(batch.lengths[row] - samples / 160) <= 1
            text = tokenizer.decode(batch.targets[row, : batch.target_lengths[row]].tolist())
            assert text == " ".join(cut.supervisions[0].text for cut in parts)
            together += len(parts) > 1
    assert together


def test_a_batch_holds_the_audio_and_the_text_of_its_cuts(spoken, cuts, tokenizer):
    by_id = {cut.id: cut for cut in cuts}
    (batch,) = training(Loader(tokenizer, 1), spoken, 1)
    for row, name in enumerate(batch.ids):
        mel = compute_mel_spectrogram(by_id[name].load_audio()[0])
        assert batch.lengths[row] == len(mel)
        assert np.array_equal(batch.features[row, : len(mel)], mel)
        assert not batch.features[row, len(mel) :].any()
        target = batch.targets[row, : batch.target_lengths[row]]
        assert tokenizer.decode(target.tolist()) == by_id[name].supervisions[0].text


def test_validation_takes_every_utterance_once_longest_first(cuts, tokenizer):
    found = list(Loader(tokenizer, 1).plain(cuts, 4.0))
    lengths = [length for batch in found for length in batch.lengths.tolist()]
    assert lengths == sorted(lengths, reverse=True)
    assert Counter(name for batch in found for name in batch.ids) == Counter(cut.id for cut in cuts)


def test_a_cut_is_its_stretch_of_the_recording(cuts):
    whole = load_cut(cuts[0])
    part = cuts[0].truncate(offset=0.25, duration=0.3, preserve_id=True)
    assert np.array_equal(load_cut(part), whole[4000:8800])


def test_a_cut_is_output_as_often_as_its_corpus_says_under_names_of_their_own(tmp_path):
    cuts = [metadata(number, 2.0) for number in range(20)]
    for cut in cuts[:5]:
        cut.custom = {"repeat": 3}
    save_cuts(cuts, tmp_path / "train.jsonl")
    taken = [cut for _, batch in islice(plan_batches(tmp_path / "train.jsonl", 90.0, 1), 1) for cut in batch]
    assert all(cut.recording.id == cut.supervisions[0].id == cut.id.partition("#")[0] for cut in taken)
    names = [cut.id for cut in taken]
    assert len(set(names)) == len(names) == 15 + 5 * 3
    assert Counter(name.partition("#")[0] for name in names) == {cut.id: 3 if cut.custom else 1 for cut in cuts}


def test_supervision_passes_over_cuts_without_text(tmp_path):
    """Of whole blocks too: the last of the three has none with text."""
    cuts = [metadata(number, 2.0) for number in range(150)]
    for number, cut in enumerate(cuts):
        if number % 3 == 0 or number >= 100:
            cut.supervisions = []
    save_cuts(cuts, tmp_path / "pretrain.jsonl")
    everything, with_text = (
        [output(epoch) for epoch in epochs(tmp_path / "pretrain.jsonl", 2, with_text=chosen)]
        for chosen in (False, True)
    )
    assert all(epoch == {cut.id: 1 for cut in cuts} for epoch in everything)
    assert all(epoch == {cut.id: 1 for cut in cuts if cut.supervisions} for epoch in with_text)
    batches = plan(tmp_path / "pretrain.jsonl", 12, with_text=True)
    for done in range(1, 12):  # also from the end of a block whose follower is passed over
        going_on = batches[done - 1][0].following()
        assert plan(tmp_path / "pretrain.jsonl", 12 - done, with_text=True, start=going_on) == batches[done:]
