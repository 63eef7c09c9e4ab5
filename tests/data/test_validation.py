"""Validation: faults of every kind, planted in a good corpus, are found under their name; the rest survives."""

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from lhotse import SupervisionSegment
from ruamel.yaml import YAML

from tests.corpora.layouts import gather
from velocity.config import load_params
from velocity.corpora.kinds.folder import read_folder
from velocity.data.checks import OTHER, UNUSED, Check, checks, copied, heard_elsewhere
from velocity.data.expectations import judge
from velocity.data.manifests import save_manifests
from velocity.errors import VelocityError
from velocity.stages import validate

ROOT = Path(__file__).parents[2]
CHECKS = list(dict.fromkeys(check.name for check in checks(load_params(ROOT / "params.yaml"))))
RATE = 16_000
WORDS = ["river", "stone", "garden", "window", "paper", "silver", "morning", "bridge", "candle", "forest", "market"]


PARTS = ("b-1", "b-2", "c-1", "c-2", "a1-00")

FAST = "many words in so very little time are more than a mouth can ever say at once"


class Folder:
    """A corpus in LibriSpeech layout: 4 speakers, of whom t1 and t2 are tested on, 15 utterances each."""

    def __init__(self, path):
        self.path = path
        self.random = np.random.default_rng(4)
        self.lines = {}  # utterance → its lines, as (ID, text)
        for number, speaker in enumerate(("a1", "a2", "t1", "t2")):
            (path / speaker).mkdir(parents=True)
            for index in range(15):
                utterance = f"{speaker}-{index:02d}"
                self.record(utterance, self.speech(2.0))
                words = [WORDS[(index + shift) % len(WORDS)] for shift in (0, number + 1, 2 * number + 3)]
                self.lines[utterance] = [(utterance, " ".join([*words, WORDS[index % 7], speaker[0] * 2]))]

    def speech(self, seconds, level=0.05):
        return self.random.normal(0, level, round(seconds * RATE))

    def audio(self, utterance, ending=".wav"):
        return self.path / utterance.partition("-")[0] / f"{utterance}{ending}"

    def record(self, utterance, samples, rate=RATE, subtype="PCM_16", ending=".wav"):
        soundfile.write(self.audio(utterance, ending), samples, rate, subtype)

    def say(self, utterance, text):
        self.lines[utterance] = [(utterance, text)]

    def write(self):
        lines = [f"{name} {text}\n" for lines in self.lines.values() for name, text in lines]
        (self.path / "all.trans.txt").write_text("".join(lines), encoding="utf-8")


def truncate_flac(corpus, utterance):
    corpus.audio(utterance).unlink()
    corpus.record(utterance, corpus.speech(2.0), ending=".flac")
    cut(corpus.audio(utterance, ".flac"), 0.4)


def truncate_wav(corpus, utterance):
    cut(corpus.audio(utterance), 0.6)


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def plant_sample(corpus, utterance, value):
    samples = corpus.speech(2.0)
    samples[77] = value
    corpus.record(utterance, samples, subtype="FLOAT")


def copy_in_another_format(corpus, utterance):
    """The same speech and text under a later id."""
    samples, _ = soundfile.read(corpus.audio("a1-00"), dtype="int16")
    corpus.audio(utterance).unlink()
    corpus.record(utterance, samples, ending=".flac")
    corpus.say(utterance, corpus.lines["a1-00"][0][1])


def copy_with_another_text(corpus, utterance):
    """Which of the two texts is right, nobody knows: both are told."""
    corpus.audio(utterance).write_bytes(corpus.audio("a2-00").read_bytes())


def repeat_file(corpus, utterance):
    (corpus.path / "again").mkdir()
    (corpus.path / "again" / f"{utterance}.wav").write_bytes(corpus.audio(utterance).read_bytes())


def hide_the_speaker(corpus, utterance):
    corpus.audio(utterance).rename(corpus.path / "nobody.wav")
    corpus.lines["nobody"] = [("nobody", corpus.lines.pop(utterance)[0][1])]


# What is done to an utterance of its own, the check that must tell it, and who is told if it is somebody else too.
PLANTED = [
    ("a FLAC file that ends too soon", truncate_flac, "truncated-audio"),
    ("a WAV file that ends too soon", truncate_wav, "truncated-audio"),
    ("a header alone", lambda c, u: c.record(u, np.zeros(0)), "unreadable-audio"),
    ("no bytes", lambda c, u: c.audio(u).write_bytes(b""), "unreadable-audio"),
    ("a text called .wav", lambda c, u: c.audio(u).write_text("RIFF raff"), "unreadable-audio"),
    ("NaN", lambda c, u: plant_sample(c, u, np.nan), "not-a-number"),
    ("Inf", lambda c, u: plant_sample(c, u, np.inf), "not-a-number"),
    ("silence", lambda c, u: c.record(u, np.zeros(2 * RATE)), "silence"),
    ("clipping", lambda c, u: c.record(u, np.clip(c.speech(2.0, level=1.0), -1, 1)), "clipping"),
    ("DC offset", lambda c, u: c.record(u, c.speech(2.0) + 0.2), "dc-offset"),
    ("too short", lambda c, u: (c.record(u, c.speech(0.1)), c.say(u, "hi")), "too-short"),
    ("too long", lambda c, u: (c.record(u, c.speech(41)), c.say(u, " ".join(WORDS))), "too-long"),
    ("4 kHz", lambda c, u: c.record(u, c.speech(0.5), 4000), "sample-rate"),
    ("8 channels", lambda c, u: c.record(u, np.stack([c.speech(2.0)] * 8, axis=1)), "channels"),
    ("no transcript", lambda c, u: c.lines.pop(u), "audio-without-transcript"),
    ("no audio", lambda c, u: c.audio(u).unlink(), "transcript-without-audio"),
    ("two lines of one id", lambda c, u: c.lines[u].append((u, "another text")), "duplicate-id"),
    ("two files of one id", repeat_file, "duplicate-id"),
    ("a line without text", lambda c, u: c.say(u, ""), "malformed-transcript"),
    ("no speaker", hide_the_speaker, "unknown-speaker"),
    ("a copy in another format", copy_in_another_format, "duplicate-audio"),
    ("a copy with another text", copy_with_another_text, "duplicate-audio"),
    ("nothing but signs", lambda c, u: c.say(u, "... ?!"), "empty-text"),
    ("foreign letters", lambda c, u: c.say(u, "good morning привет"), "foreign-letters"),
    ("too fast", lambda c, u: c.say(u, FAST), "pace"),
    ("too slow", lambda c, u: c.say(u, "a"), "pace"),
    ("more labels than frames", lambda c, u: (c.record(u, c.speech(0.5)), c.say(u, "a" * 15)), "ctc-infeasible"),
    ("a tested sentence", lambda c, u: c.say(u, c.lines["t1-00"][0][1]), "sentence-in-two-splits"),
]  # fmt: skip
VICTIMS = [f"a{1 + place // 14}-{1 + place % 14:02d}" for place in range(len(PLANTED))]
EXPECTED = [
    *((check, f"mine/{'nobody' if plant is hide_the_speaker else victim}")
      for (_, plant, check), victim in zip(PLANTED, VICTIMS, strict=True)),
    ("duplicate-audio", "mine/a2-00"),  # the original of a copy with another text
    ("outside-recording", "parts/c-2"),
    ("speaker-in-two-splits", "parts/b-1"),
    ("truncated-audio", "parts/c-1"),  # gone after it was fetched
    ("id-in-two-corpora", "parts/a1-00"),
]  # fmt: skip


def write_params(**changes):
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["corpora"] = {
        "mine": {"kind": "folder", "source": "speech", "test": "^t", "validation": 0},
        "parts": {"kind": "librispeech", "source": "x", "train": ["train"], "test": ["test"], "validation": 0},
    }
    params["validate"].update(changes)
    YAML(typ="safe").dump(params, Path("params.yaml"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A project with two fetched corpora that have every fault."""
    project = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        corpus = Folder(Path("speech"))
        for (_, plant, _), utterance in zip(PLANTED, VICTIMS, strict=True):
            plant(corpus, utterance)
        corpus.write()
        save_manifests(read_folder("mine", "speech"), "data/manifests/mine")
        fetch_parts()
        Path("data/accepted.json").write_text("{}")
    return project


def fetch_parts():
    """A corpus with official parts; b speaks in two, c-2 is said to go on after its recording."""
    folder = Path("parts")
    random = np.random.default_rng(9)
    for utterance in PARTS:
        (folder / utterance[0]).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / utterance[0] / f"{utterance}.wav", random.normal(0, 0.05, 2 * RATE), RATE)
    texts = [f"{name} NUMBER {word} HERE\n" for name, word in zip(PARTS, WORDS, strict=False)]
    (folder / "all.trans.txt").write_text("".join(texts))
    recordings, supervisions, _ = gather(read_folder("parts", folder))
    for segment in supervisions:
        segment.custom["part"] = "test" if segment.id == "parts/b-2" else "train"
        if segment.id == "parts/c-2":
            segment.duration += 0.5
    save_manifests([*recordings, *supervisions], "data/manifests/parts")
    (folder / "c" / "c-1.wav").unlink()


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_every_planted_fault_is_found_and_the_good_utterances_survive(planted, monkeypatch):
    monkeypatch.chdir(planted)
    write_params(severity=dict.fromkeys(CHECKS, "drop"), max_dropped=1.0)
    validate.main()

    found = {(finding["check"], finding["id"]) for finding in lines("reports/validation/findings.jsonl")}
    assert found == set(EXPECTED)
    assert {check for check, _ in found} == set(CHECKS), "a check that nothing is planted for"
    assert len({kind for kind, _, _ in PLANTED}) >= 20

    reasons = {line["id"]: line["reasons"] for line in lines("data/validated/exclusions.jsonl")}
    manifests = [Path("data/manifests", name) for name in ("mine", "parts")]
    fetched = {line["id"] for folder in manifests for line in lines(folder / "recordings.jsonl")}
    expected = defaultdict(list)
    for check, identity in EXPECTED:
        if identity in fetched:
            expected[identity].append(check)
    assert reasons == expected
    everything = {f"mine/{speaker}-{n:02d}" for speaker in ("a1", "a2", "t1", "t2") for n in range(15)}
    everything |= {f"parts/{name}" for name in PARTS}
    assert fetched - reasons.keys() == everything - {identity for _, identity in EXPECTED} - {
        f"mine/{v}" for v in VICTIMS
    }

    summary = json.loads(Path("reports/validation/summary.json").read_text())
    counted = {check: figures["failed"] for check, figures in summary["checks"].items()}
    assert counted == {check: sum(name == check for name, _ in EXPECTED) for check in CHECKS}
    assert summary["corpora"]["mine"]["rates"] == {"4000": 1, "16000": len(fetched) - 6}
    assert summary["corpora"]["parts"]["dropped"] == 4
    places = {finding["id"]: finding["where"] for finding in lines("reports/validation/findings.jsonl")}
    assert places["parts/c-2"] == "parts/c/c-2.wav"
    assert re.fullmatch(r"speech/all\.trans\.txt line \d+", places[f"mine/{VICTIMS[15]}"])
    assert Path("reports/validation/data_docs/index.html").exists()


def test_a_refusal_is_one_line_and_leaves_nothing_that_looks_accepted(planted, monkeypatch):
    monkeypatch.chdir(planted)
    monkeypatch.setattr(validate, "DATA_DOCS", None)
    write_params()
    with pytest.raises(VelocityError) as caught:
        validate.main()
    message = str(caught.value)
    assert re.match(
        r"unreadable-audio: 3 of \d+: speech/a1/a1-03\.wav, speech/a1/a1-04\.wav, speech/a1/a1-05\.wav \(al", message
    )
    assert (
        "also refused: transcript-without-audio, audio-without-transcript, duplicate-id, malformed-transcript"
        in message
    )
    assert message.endswith("; all findings are in reports/validation/findings.jsonl")
    assert "\n" not in message
    assert len(lines("reports/validation/findings.jsonl")) == len(EXPECTED) + 2  # two places of each duplicate id
    for accepted in (validate.VALIDATION_SUMMARY, validate.EXCLUSIONS, validate.DISTRIBUTIONS):
        assert not accepted.exists()


def test_dropping_too_much_refuses_the_corpus_and_a_warning_drops_nothing(planted, monkeypatch, capsys):
    monkeypatch.chdir(planted)
    monkeypatch.setattr(validate, "DATA_DOCS", None)
    write_params(severity=dict.fromkeys(CHECKS, "drop"))
    with pytest.raises(VelocityError, match=r"corpus mine: 29 utterances would be dropped, more than validate\.max_dr"):
        validate.main()
    write_params(severity={**dict.fromkeys(CHECKS, "warn"), "silence": "drop"})
    validate.main()
    assert lines("data/validated/exclusions.jsonl") == [{"id": f"mine/{VICTIMS[7]}", "reasons": ["silence"]}]
    printed = capsys.readouterr().err
    assert f"validate: dropped: silence: 1 of 56: speech/a1/{VICTIMS[7]}.wav (-120)\n" in printed
    assert re.search(r"validate: warning: truncated-audio: 3 of 56: .*, parts/c/c-1\.wav", printed)


def test_great_expectations_and_numpy_agree_on_who_fails():
    values = np.random.default_rng(5).integers(-3, 4, 500) / 2  # many on the limits
    values[::7] = np.nan
    table = pd.DataFrame({"id": [f"c/{n}" for n in range(len(values))], "x": values})
    ranges = [(-1.0, 1.0), (None, 0.5), (0.5, None), (0.0, 0.0), (-2, 2)]
    checks = [Check(str(number), "drop", "t", "x", low, high, "holds") for number, (low, high) in enumerate(ranges)]
    for (low, high), rows in zip(ranges, judge({"t": table}, checks), strict=True):
        outside = (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))
        assert rows.tolist() == np.flatnonzero(outside).tolist()


def test_a_long_table_is_judged_in_blocks(monkeypatch):
    monkeypatch.setattr("velocity.data.expectations.ROWS", 7)
    table = pd.DataFrame({"id": [f"c/{n}" for n in range(20)], "x": np.arange(20) % 5})
    (rows,) = judge({"t": table}, [Check("a", "drop", "t", "x", None, 3, "x")])
    assert rows.tolist() == [4, 9, 14, 19]


def test_of_copies_the_first_with_a_text_stays_unless_texts_differ():
    audio = pd.DataFrame({"content": [1, 1, 2, 2, 3, 3, 3, 4, 5, 5], "seconds": [1.0] * 8 + [0.0] * 2})
    utterances = pd.DataFrame({"recording": [0, 1, 3, 4, 5, 6], "sentence": [7, 7, 8, 1, 1, 2]})
    assert copied(audio, utterances).tolist() == [0, 1, 1, 0, 1, 1, 1, 0, 0, 0]
    assert copied(audio, utterances.iloc[:0]).tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 0, 0]


def test_a_sentence_is_told_where_it_may_be_missed():
    train, validation, test = range(3)
    splits = np.array([train, validation, test, train, test, OTHER, train, UNUSED], np.int8)
    sentences = np.array([1, 1, 1, 2, 2, 1, 3, 3])
    assert heard_elsewhere(sentences, splits).tolist() == [1, 1, 0, 1, 0, 0, 0, 0]


def test_unlabelled_speech_is_judged_by_its_audio_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(validate, "DATA_DOCS", None)
    corpus = Folder(Path("speech"))
    recordings, _, _ = gather(read_folder("mine", "speech", labelled=False))
    speakers = [SupervisionSegment(r.id, r.id, 0.0, 99.0, speaker="s", custom={}) for r in recordings]
    save_manifests([*recordings, *speakers], "data/manifests/mine")
    Path("data/accepted.json").write_text("{}")
    write_params()
    params = YAML(typ="safe").load(Path("params.yaml"))
    params["corpora"] = {"mine": {"kind": "folder", "source": "speech", "labelled": False}}
    YAML(typ="safe").dump(params, Path("params.yaml"))
    validate.main()
    summary = json.loads(Path("reports/validation/summary.json").read_text())
    assert (summary["corpora"]["mine"]["recordings"], summary["corpora"]["mine"]["utterances"]) == (
        len(corpus.lines),
        0,
    )
