"""Each kind of corpus in its official layout: what Lhotse's own recipes read, and every fault with its place."""

import json
from pathlib import Path

import pytest
from lhotse.recipes.librilight import prepare_librilight
from lhotse.recipes.librispeech import prepare_librispeech
from lhotse.recipes.ljspeech import prepare_ljspeech

from tests.corpora import layouts
from velocity.commands.profile import apply_profile
from velocity.config import load_params
from velocity.config.corpora import KINDS
from velocity.corpora.archives import load_archives
from velocity.corpora.kinds.commonvoice import CommonVoiceCorpus
from velocity.corpora.kinds.librilight import LibriLightCorpus
from velocity.corpora.kinds.librispeech import LibriSpeechCorpus
from velocity.corpora.kinds.ljspeech import LJSpeechCorpus
from velocity.corpora.kinds.speechocean762 import SpeechOcean762Corpus
from velocity.errors import VelocityError

TABLE = "velocity/corpora/archives.yaml"
LIBRISPEECH = LibriSpeechCorpus(
    kind="librispeech", source=TABLE, train=("train-clean-5",), validation=0.1, test=("dev-clean-2",)
)
LIBRILIGHT = LibriLightCorpus(kind="librilight", source=TABLE, parts=("small", "medium"))
LJSPEECH = LJSpeechCorpus(kind="ljspeech", source=TABLE)
SPEECHOCEAN = SpeechOcean762Corpus(
    kind="speechocean762", source=TABLE, train=("train",), validation=0.1, test=("test",)
)
COMMONVOICE = CommonVoiceCorpus(
    kind="common-voice", source="release.tar.gz", train=("train",), validation=("dev",), test=("test",)
)


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_changes_the_default_and_names_what_the_table_has(profile, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    assert apply_profile(str(profile), params)
    assert load_params(params) != load_params(ROOT / "params.yaml")
    for corpus in load_params(params).corpora.values():
        assert corpus.kind in KINDS
        if corpus.source == TABLE:
            parts = corpus.parts if corpus.kind in ("librispeech", "librilight") else None
            assert load_archives(ROOT / TABLE, corpus.kind, parts)


def lay_out(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def raw(tmp_path):
    """All corpora as they are unpacked: an archive a folder."""
    lay_out(tmp_path / "train-clean-5", layouts.librispeech("train-clean-5", ["1", "2"]))
    lay_out(tmp_path / "dev-clean-2", layouts.librispeech("dev-clean-2", ["3"]))
    lay_out(tmp_path / "small", layouts.librilight("small", ["1", "100"]))
    lay_out(tmp_path / "medium", layouts.librilight("medium", ["1"]))
    lay_out(tmp_path / "LJSpeech-1.1", layouts.ljspeech())
    lay_out(tmp_path / "speechocean762", layouts.speechocean762())
    lay_out(tmp_path / "cv", layouts.commonvoice())
    return tmp_path


def read(corpus, raw):
    return layouts.gather(KINDS[corpus.kind].read("mine", corpus, raw / "cv" if corpus.kind == "common-voice" else raw))


def same_audio(recordings, reference):
    """By the file's name: sampling rate, samples and seconds."""
    ours, theirs = (
        {
            item.sources[0].source.rsplit("/", 1)[-1]: (item.sampling_rate, item.num_samples, item.duration)
            for item in items
        }
        for items in (recordings, reference)
    )
    return ours == theirs and len(ours) > 0


def test_librispeech_is_what_lhotse_reads(raw):
    recordings, supervisions, faults = read(LIBRISPEECH, raw)
    assert faults == []
    assert len(recordings) == 6
    for part in LIBRISPEECH.parts:
        theirs = prepare_librispeech(raw / part / "LibriSpeech", dataset_parts=[part])[part]
        ours = [segment for segment in supervisions if segment.custom["part"] == part]
        assert same_audio([item for item in recordings if f"/{part}/" in item.sources[0].source], theirs["recordings"])
        assert {(segment.id, segment.text, segment.speaker, segment.duration) for segment in ours} == {
            (f"mine/{segment.id}", segment.text, f"librivox:{segment.speaker}", segment.duration)
            for segment in theirs["supervisions"]
        }


def test_librilight_is_what_lhotse_reads(raw):
    recordings, supervisions, faults = read(LIBRILIGHT, raw)
    assert faults == []
    for part in ("small", "medium", "large"):  # Lhotse wants all three, side by side
        lay_out(raw / "all", layouts.librilight(part, {"small": ["1", "100"]}.get(part, ["1"])))
    manifests = prepare_librilight(raw / "all")
    theirs = [item for part in LIBRILIGHT.parts for item in manifests[part]["recordings"]]
    assert {item.id for item in recordings} == {f"mine/{item.id}" for item in theirs}
    assert same_audio(recordings, theirs)
    assert [(segment.id, segment.recording_id) for segment in supervisions] == [
        (item.id, item.id) for item in recordings
    ]
    assert {segment.text for segment in supervisions} == {None}
    for segment, recording in zip(supervisions, recordings, strict=True):
        about = json.loads(Path(recording.sources[0].source).with_suffix(".json").read_text())
        assert segment.speaker == f"librivox:{about['speaker']}"
        assert segment.custom["part"] == segment.id.split("/")[1]


def test_ljspeech_is_what_lhotse_reads(raw):
    recordings, supervisions, faults = read(LJSPEECH, raw)
    assert faults == []
    theirs = prepare_ljspeech(raw / "LJSpeech-1.1" / "LJSpeech-1.1")
    assert same_audio(recordings, theirs["recordings"])
    assert {(segment.id, segment.text) for segment in supervisions} == {
        (f"mine/{segment.id}", segment.custom["normalized_text"]) for segment in theirs["supervisions"]
    }
    assert {segment.speaker for segment in supervisions} == {"LJ"}


def test_speechocean762_with_its_parts_and_ages(raw):
    recordings, supervisions, faults = read(SPEECHOCEAN, raw)
    assert faults == []
    assert [item.id for item in recordings] == ["mine/000001001", "mine/000002001", "mine/000003001"]
    assert [(segment.speaker, segment.custom["part"], segment.custom["group"]) for segment in supervisions] == [
        ("0001", "train", "child"),
        ("0002", "test", "child"),
        ("0003", "train", "adult"),
    ]
    assert {segment.text for segment in supervisions} == {"WE CALL IT BEAR"}


def test_common_voice_with_its_parts(raw):
    recordings, supervisions, faults = read(COMMONVOICE, raw)
    assert faults == []
    assert [item.sampling_rate for item in recordings] == [32_000] * 4
    found = [(segment.id, segment.speaker, segment.custom.get("group")) for segment in supervisions]
    assert found == [
        ("mine/common_voice_en_1", "ada", "adult"),
        ("mine/common_voice_en_2", "bob", None),
        ("mine/common_voice_en_3", "eve", None),
        ("mine/common_voice_en_4", "kim", "adult"),
    ]
    assert [segment.text for segment in supervisions] == ['She said: "Go.', "Yes.", "Line\u2028end.", "No."]
    assert [segment.custom["part"] for segment in supervisions] == ["train", "train", "dev", "test"]


CLIPS = "cv/cv-corpus-17.0-2024-03-15/en/clips"


@pytest.mark.parametrize(
    ("corpus", "path", "change", "kind", "utterance", "where"),
    [
        (LIBRISPEECH, "dev-clean-2/LibriSpeech/dev-clean-2/3/12/3-12-0001.flac", None,
         "transcript-without-audio", "3-12-0001", "3-12.trans.txt line 2"),
        (LIBRISPEECH, "train-clean-5/LibriSpeech/train-clean-5/1/12/1-12.trans.txt", b"1-12-0000 YES\n",
         "audio-without-transcript", "1-12-0001", "1-12-0001.flac"),
        (LIBRILIGHT, "small/small/100/a_book_64kb_mp3/book_01_64kb.flac", b"",
         "unreadable-audio", "small/100/a_book_64kb_mp3/book_01_64kb", "book_01_64kb.flac"),
        (LJSPEECH, "LJSpeech-1.1/LJSpeech-1.1/metadata.csv", b"LJ001-0001|one|one\nLJ001-0002|two\n",
         "malformed-transcript", "LJ001-0002", "metadata.csv line 2"),
        (LJSPEECH, "LJSpeech-1.1/LJSpeech-1.1/wavs/LJ001-0003.wav", b"RIFF",
         "audio-without-transcript", "LJ001-0003", "LJ001-0003.wav"),
        (SPEECHOCEAN, "speechocean762/speechocean762/train/utt2spk", b"000001001\t0001\n",
         "unknown-speaker", "000003001", "000003001.WAV"),
        (SPEECHOCEAN, "speechocean762/speechocean762/test/text", b"000002001\t\n",
         "malformed-transcript", "000002001", "test/text line 1"),
        (SPEECHOCEAN, "speechocean762/speechocean762/test/text", b"000001001 A\n000002001 B\n",
         "duplicate-id", "000001001", "test/text line 1"),
        (COMMONVOICE, f"{CLIPS}/common_voice_en_3.mp3", None,
         "transcript-without-audio", "common_voice_en_3", "dev.tsv line 2"),
        (COMMONVOICE, f"{CLIPS}/../dev.tsv",
         b"client_id\tpath\tsentence\tage\neve\tcommon_voice_en_3.mp3\tOne\ttwo\tteens\n",
         "malformed-transcript", "common_voice_en_3", "dev.tsv line 2"),
        (COMMONVOICE, f"{CLIPS}/common_voice_en_4.mp3", b"no MP3 at all",
         "unreadable-audio", "common_voice_en_4", "common_voice_en_4.mp3"),
    ],
)  # fmt: skip
def test_a_fault_is_told_and_the_others_survive(raw, corpus, path, change, kind, utterance, where):
    before, _, _ = read(corpus, raw)
    if change is None:
        (raw / path).unlink()
    else:
        (raw / path).write_bytes(change)
    recordings, supervisions, faults = read(corpus, raw)
    fault = next(fault for fault in faults if fault.where.endswith(where))
    assert (fault.corpus, fault.id, fault.kind) == ("mine", f"mine/{utterance}", kind)
    faulty = {fault.id for fault in faults}
    assert len(faulty) == 1
    assert {item.id for item in recordings} == {item.id for item in before} - faulty
    assert {segment.id for segment in supervisions} == {item.id for item in recordings}


@pytest.mark.parametrize(
    ("corpus", "path", "change", "named"),
    [
        (LIBRILIGHT, "medium/medium", None, r"corpora\.mine: .*medium: no medium/<speaker>/<book>/<file>\.flac"),
        (LJSPEECH, "LJSpeech-1.1/LJSpeech-1.1/metadata.csv", None, r"metadata\.csv: no such file"),
        (LJSPEECH, "LJSpeech-1.1/LJSpeech-1.1/metadata.csv", b"\xff|\xff", r"metadata\.csv: not UTF-8 \(byte 0\)"),
        (SPEECHOCEAN, "speechocean762/speechocean762/test/spk2age", None, r"test/spk2age: no such file"),
        (SPEECHOCEAN, "speechocean762/speechocean762/test/wav.scp", b"a ../../../passwd",
         r"test/wav\.scp line 1: \.\./.* is not below"),
        (COMMONVOICE, CLIPS, None, r"corpora\.mine\.source: not a release of Common Voice in English: it holds no"),
        (COMMONVOICE, f"{CLIPS}/../dev.tsv", b"client_id\tpath\n", r"dev\.tsv: has no column 'sentence'"),
    ],
)  # fmt: skip
def test_what_is_no_such_corpus_is_refused_on_one_line(raw, corpus, path, change, named):
    if change is None:
        (raw / path).rename(raw / "elsewhere")
    else:
        (raw / path).write_bytes(change)
    with pytest.raises(VelocityError, match=named) as caught:
        read(corpus, raw)
    assert "\n" not in str(caught.value)


def test_common_voice_in_another_language_is_refused(tmp_path):
    lay_out(tmp_path / "cv", layouts.commonvoice("cy"))
    with pytest.raises(VelocityError, match="not a release of Common Voice in English: it holds cy"):
        read(COMMONVOICE, tmp_path)


def test_the_same_utterance_in_two_parts_is_refused(raw):
    both = LibriSpeechCorpus(
        kind="librispeech", source=TABLE, train=("train-clean-5", "train-clean-100"), validation=0.1, test=0.1
    )
    lay_out(raw / "train-clean-100", layouts.librispeech("train-clean-100", ["2"]))
    with pytest.raises(VelocityError, match="2-12-0000 is in both train-clean-5 and train-clean-100; list only one"):
        read(both, raw)
