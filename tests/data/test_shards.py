"""Shards: the same bytes each time, the same training as from files, and nothing that is damaged is output."""

import io
import json
import shutil
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
from fsspec.implementations.memory import MemoryFileSystem
from lhotse import CutSet, MonoCut
from lhotse.audio.backend import audio_backend

from tests.augmentation import augmentation
from tests.data.speech import save_cuts, speak
from velocity.config.data import Sharding
from velocity.data import shards as module
from velocity.data.batches import Loader
from velocity.data.manifests import load_cuts, to_line
from velocity.data.sharding import Shard, encode, write_shards
from velocity.data.shards import Shards, load_cut
from velocity.errors import VelocityError

PLENTY = 10**9  # bytes of copies
TAR = "train/recording.000001.tar"


@pytest.fixture(scope="module")
def cuts(tmp_path_factory) -> list[MonoCut]:
    """Whole recordings, and one cut out of the middle of its own."""
    spoken = speak(tmp_path_factory.mktemp("audio"), 25)
    spoken[3] = spoken[3].truncate(offset=0.1, duration=0.3, preserve_id=True)
    return spoken


@pytest.fixture(autouse=True)
def empty_memory():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path) -> str:
    return "memory://bucket/speech" if request.param == "memory" else str(tmp_path / "store")


class Sharded:
    """A prepared folder whose training set lies in shards at ``url``, ten utterances each."""

    def __init__(self, cuts: list[MonoCut], url: str, folder: Path, audio: str = "flac") -> None:
        self.folder, self.url = folder, url
        self.settings = Sharding(url, 10, audio, 20.0)
        folder.mkdir(exist_ok=True)
        self.train, self.index = folder / "train.jsonl", folder / "shards.json"
        save_cuts(cuts, self.train)

    def write(self, *more: Path) -> dict:
        write_shards([self.train, *more], self.settings, self.index)
        return json.loads(self.index.read_text())

    def open(self, limit: int = PLENTY) -> Shards:
        return Shards(self.index, limit, self.folder / "cache")

    def stored(self) -> dict[str, bytes]:
        files, root = fsspec.core.url_to_fs(self.url)
        return {path.removeprefix(root).lstrip("/"): files.cat_file(path) for path in files.find(root)}

    def spoil(self, name: str, content: bytes | None) -> None:
        files, root = fsspec.core.url_to_fs(self.url)
        files.rm_file(f"{root}/{name}")
        if content is not None:
            files.pipe_file(f"{root}/{name}", content)


def test_training_from_shards_is_training_from_files(cuts, url, tmp_path):
    sharded = Sharded(cuts, url, tmp_path / "prepared")
    files = shutil.copy(sharded.train, tmp_path / "files.jsonl")
    sharded.write()
    arguments = (None, 1, augmentation(noise=0.5), 2)
    expected = list(islice(Loader(*arguments).training(files, 4.0), 20))
    found = list(islice(Loader(*arguments, sharded.open()).training(sharded.train, 4.0), 20))
    for one, two in zip(expected, found, strict=True):
        assert one.ids == two.ids
        assert one.features.equal(two.features)


def test_lhotse_reads_the_shards(cuts, tmp_path):
    sharded = Sharded(cuts, str(tmp_path / "store"), tmp_path / "prepared")
    sharded.write()
    found = list(CutSet.from_shar(in_dir=tmp_path / "store/train"))
    assert [cut.id for cut in found] == [cut.id for cut in cuts]
    for cut, original in zip(found, cuts, strict=True):
        with audio_backend("LibsndfileBackend"):
            assert np.array_equal(cut.load_audio()[0], original.load_audio()[0])
        assert cut.duration == original.duration
        assert [segment.text for segment in cut.supervisions] == [segment.text for segment in original.supervisions]


@pytest.mark.parametrize("audio", ["flac", "opus"])
def test_the_same_speech_gives_the_same_bytes(cuts, tmp_path, audio):
    first = Sharded(cuts[:12], str(tmp_path / "one"), tmp_path / "first", audio)
    second = Sharded(cuts[:12], str(tmp_path / "two"), tmp_path / "second", audio)
    assert first.write()["files"] == second.write()["files"]
    assert first.train.read_bytes() == second.train.read_bytes()
    shards = {name: content for name, content in first.stored().items() if name.startswith("train/")}
    assert sorted(shards) == sorted(json.loads(first.index.read_text())["files"])
    assert shards == {name: content for name, content in second.stored().items() if name.startswith("train/")}


def test_what_was_16_bit_stays_and_opus_sounds_the_same():
    integers = np.array([-32768, -32767, -1, 0, 1, 32766, 32767], dtype=np.int16)
    samples, rate = soundfile.read(io.BytesIO(encode(integers / np.float32(32768), "flac")), dtype="int16")
    assert rate == 16_000
    assert np.array_equal(samples, integers)
    tone = (0.3 * np.sin(np.arange(48_000) * 0.2)).astype(np.float32)
    encoded = encode(tone, "opus")
    output, rate = soundfile.read(io.BytesIO(encoded), dtype="float32")
    assert (rate, len(output)) == (16_000, 48_000)
    assert np.abs(output - tone)[2000:-2000].max() < 0.05
    assert len(encoded) < len(encode(np.random.default_rng(0).normal(0, 0.1, 48_000), "flac")) / 3


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_interrupted_writing_goes_on_with_what_is_missing(cuts, url, tmp_path, monkeypatch, killed_after):
    undisturbed = Sharded(cuts, f"{url}-undisturbed", tmp_path / "undisturbed")
    undisturbed.write()
    sharded, written, original = Sharded(cuts, url, tmp_path / "prepared"), [], Shard.write
    before = sharded.train.read_bytes()

    def write(shard: Shard, *arguments):
        if len(written) == killed_after:
            raise KeyboardInterrupt
        written.append(shard.number)
        return original(shard, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Shard, "write", write)
        with pytest.raises(KeyboardInterrupt):
            sharded.write()
    assert sharded.train.read_bytes() == before, "the manifest points to shards once they are all there"
    assert "shards.json" not in sharded.stored()
    monkeypatch.setattr(Shard, "write", lambda shard, *rest: written.append(shard.number) or original(shard, *rest))
    sharded.write()
    assert written == [0, 1, 2], "each shard is written once"
    assert sharded.train.read_bytes() == undisturbed.train.read_bytes()
    assert {**sharded.stored(), "shards.json": b""} == {**undisturbed.stored(), "shards.json": b""}


def test_changed_audio_and_a_smaller_set_are_written_anew(cuts, tmp_path):
    own = copies_of(cuts, tmp_path)
    sharded = Sharded(own, str(tmp_path / "store"), tmp_path / "prepared")
    first = sharded.write()["files"]
    louder = own[12].recording.sources[0].source
    soundfile.write(louder, np.zeros(16_000, dtype=np.int16), 16_000)
    save_cuts(own[:20], sharded.train)
    second = sharded.write()["files"]
    assert set(second) == {name for name in first if "000002" not in name}
    assert {name for name in second if second[name] != first[name]} == {TAR}
    assert {name for name in sharded.stored() if name.startswith("train/")} == set(second)


def copies_of(cuts: list[MonoCut], folder: Path) -> list[MonoCut]:
    copies = []
    for cut in cuts:
        source = cut.recording.sources[0].source
        copy = shutil.copy(source, folder / Path(source).name)
        copies.append(MonoCut.from_dict(json.loads(to_line(cut.to_dict()).replace(source, str(copy)))))
    return copies


def test_pretraining_on_the_same_cuts_shares_the_shards_of_training(cuts, tmp_path):
    sharded = Sharded(cuts, "memory://shared", tmp_path / "prepared")
    same = Path(shutil.copy(sharded.train, sharded.folder / "pretrain.jsonl"))
    sharded.write(same)
    assert same.read_bytes() == sharded.train.read_bytes()
    other = Sharded(cuts, "memory://apart", tmp_path / "apart")
    more = other.folder / "pretrain.jsonl"
    save_cuts([*cuts, cuts[0].with_id("another")], more)
    other.write(more)
    shards = other.open()
    assert np.array_equal(load_cut(load_cuts(more)["another"], shards), load_cut(cuts[0]))


def swap_bytes(tar: bytes) -> bytes:
    """Two bytes of the audio of its first utterance change places."""
    at = next(at for at in range(2000, len(tar)) if tar[at] != tar[at + 1])
    return tar[:at] + tar[at + 1 : at + 2] + tar[at : at + 1] + tar[at + 2 :]


FAULTS = {
    "swapped bytes": (swap_bytes, r"damaged \(SHA-256 mismatch\)"),
    "missing": (lambda tar: None, "no such shard"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_shard_is_named(cuts, url, tmp_path, fault):
    sharded = Sharded(cuts, url, tmp_path / "prepared")
    sharded.write()
    spoil, message = FAULTS[fault]
    sharded.spoil(TAR, spoil(sharded.stored()[TAR]))
    shards, found = sharded.open(), list(load_cuts(sharded.train))
    for good in (found[0], found[-1]):
        load_cut(good, shards)
    with pytest.raises(VelocityError, match=f"{url}/{TAR}: {message}") as caught:
        load_cut(found[10], shards)
    assert "\n" not in str(caught.value)
    with pytest.raises(VelocityError, match=f"{TAR}: {message}"):
        next(Loader(None, 1, shards=shards).training(sharded.train, 400.0))


@pytest.mark.parametrize("kept", [None, 5000])
def test_preparing_again_repairs_the_store(cuts, url, tmp_path, kept):
    sharded = Sharded(cuts, url, tmp_path / "prepared")
    plain = sharded.train.read_bytes()
    expected = sharded.write()["files"]
    whole = sharded.stored()
    sharded.spoil(TAR, whole[TAR][:kept] if kept else None)
    sharded.train.write_bytes(plain)
    assert sharded.write()["files"] == expected
    assert sharded.stored() == whole


def test_copies_stay_within_the_limit_and_are_used_again(cuts, tmp_path, monkeypatch):
    sharded = Sharded(cuts, "memory://bucket", tmp_path / "prepared")
    files = sharded.write()["files"]
    size = max(file["bytes"] for file in files.values())
    fetched, original = [], module.Store.get
    monkeypatch.setattr(
        module.Store, "get", lambda store, name, file: fetched.append(name) or original(store, name, file)
    )
    found, limit = list(load_cuts(sharded.train)), round(1.5 * size)
    shards = sharded.open(limit)
    for cut, whole in list(zip(found, cuts, strict=True)) * 2:
        assert np.array_equal(load_cut(cut, shards), load_cut(whole))
        assert sum(path.stat().st_size for path in (sharded.folder / "cache").iterdir()) <= limit
    assert len(fetched) > 3
    fetched.clear()
    load_cut(found[-1], sharded.open(limit))
    assert fetched == [], "the next training finds the copy"
    copy = next((sharded.folder / "cache").glob(f"{files['train/recording.000002.tar']['sha256']}.tar"))
    copy.write_bytes(b"x" * copy.stat().st_size)
    with pytest.raises(VelocityError, match="damaged"):
        load_cut(found[-1], sharded.open(limit))
    load_cut(found[-1], sharded.open(limit))


def test_threads_share_shards_of_which_one_fits(cuts, tmp_path):
    sharded = Sharded(cuts, "memory://bucket", tmp_path / "prepared")
    sharded.write()
    arguments = (None, 1, None, 8)
    expected = list(islice(Loader(*arguments, sharded.open()).training(sharded.train, 4.0), 20))
    found = list(islice(Loader(*arguments, sharded.open(limit=0)).training(sharded.train, 4.0), 20))
    assert all(one.features.equal(two.features) for one, two in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file or directory; run the stage prepare"), ("{", "not an index of shards"),
     ("{}", "not an index of shards"), ('{"url": "nowhere://x", "files": {}}', "url: nowhere://x: .*nowhere")],
)  # fmt: skip
def test_a_faulty_index_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "shards.json").write_text(content)
    with pytest.raises(VelocityError, match=message) as caught:
        Shards(tmp_path / "shards.json", PLENTY)
    assert "\n" not in str(caught.value)


def test_a_store_that_cannot_be_written_is_named(cuts, tmp_path):
    (tmp_path / "file").write_text("")
    sharded = Sharded(cuts, str(tmp_path / "file/store"), tmp_path / "prepared")
    with pytest.raises(VelocityError, match=r"file/store/shards.json: .*Not a directory"):
        sharded.write()


def test_sharded_cuts_ask_for_their_shards(cuts, tmp_path):
    sharded = Sharded(cuts, "memory://bucket", tmp_path / "prepared")
    sharded.write()
    with pytest.raises(VelocityError, match=r"shards\.json: missing"):
        load_cut(load_cuts(sharded.train)[0])
