"""Folders of speech: what is read from a good one; each fault is reported, and the good utterances survive."""

import numpy as np
import pytest
import soundfile

from tests.corpora.layouts import gather
from velocity.corpora.kinds.folder import FolderCorpus, read, read_folder
from velocity.errors import VelocityError

TEXTS = {"7-1-0000": "HELLO THERE", "7-1-0001": "GOOD BYE", "8-2-0000": "ONE TWO"}
ENDINGS = {"7-1-0000": ".flac", "7-1-0001": ".wav", "8-2-0000": ".ogg"}


@pytest.fixture
def speech(tmp_path):
    """Three utterances of two speakers, in three formats and rates."""
    folder = tmp_path / "speech"
    tone = (0.1 * np.sin(np.arange(12_000) * 0.05)).astype(np.float32)
    for rate, (utterance, ending) in zip((16_000, 8_000, 48_000), ENDINGS.items(), strict=True):
        speaker, chapter, _ = utterance.split("-")
        chapter_folder = folder / speaker / chapter
        chapter_folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(chapter_folder / f"{utterance}{ending}", tone, rate)
        with open(chapter_folder / f"{speaker}-{chapter}.trans.txt", "a", encoding="utf-8") as file:
            file.write(f"{utterance} {TEXTS[utterance]}\n")
    return folder


def test_a_good_folder(speech):
    (speech / "SPEAKERS.TXT").write_text("; made up\n; ID | sex | age\n7 | f | 9\n8 | m | 40\n")
    recordings, supervisions, faults = gather(read_folder("mine", speech))
    assert faults == []
    assert [recording.id for recording in recordings] == [f"mine/{utterance}" for utterance in TEXTS]
    assert [recording.sampling_rate for recording in recordings] == [16_000, 8_000, 48_000]
    assert [recording.num_samples for recording in recordings] == [12_000] * 3
    assert recordings[0].sources[0].source == f"{speech}/7/1/7-1-0000.flac"
    assert [segment.text for segment in supervisions] == list(TEXTS.values())
    assert [segment.speaker for segment in supervisions] == ["7", "7", "8"]
    assert [segment.custom["group"] for segment in supervisions] == ["child", "child", "adult"]
    assert supervisions[2].custom == {"corpus": "mine", "synthetic": False, "group": "adult"}


def test_speakers_file_without_ages_gives_no_group(speech):
    (speech / "SPEAKERS.TXT").write_text(
        ";ID |SEX| SUBSET |MINUTES| NAME\n7 | F | dev | 1.0 | A | B\n8 | M | dev | 2 | C\n"
    )
    _, supervisions, _ = gather(read_folder("mine", speech))
    assert all("group" not in segment.custom for segment in supervisions)


def test_unlabelled_ignores_transcripts(speech):
    for transcript in speech.rglob("*.trans.txt"):
        transcript.unlink()
    recordings, supervisions, _ = gather(read_folder("mine", speech, labelled=False))
    assert len(recordings) == 3
    assert len(supervisions) == 0


def test_the_speaker_may_be_two_folders_up(tmp_path):
    (tmp_path / "anna" / "1").mkdir(parents=True)
    soundfile.write(tmp_path / "anna" / "1" / "first.wav", np.zeros(1000), 16_000)
    (tmp_path / "all.trans.txt").write_text("first HELLO\n")
    _, supervisions, _ = gather(read_folder("mine", tmp_path))
    assert supervisions[0].speaker == "anna"
    (tmp_path / "anna" / "1" / "first.wav").rename(tmp_path / "first.wav")
    assert faults_of(tmp_path) == [("mine/first", "unknown-speaker", "first.wav")]


@pytest.mark.parametrize("linked", [["8"], ["7", "8"]])
def test_linked_speakers_are_part_of_the_corpus(speech, linked, capsys):
    """And as DVC does not look behind the links, there is a line on what to do after a change."""
    expected = gather(read_folder("mine", speech))
    corpus = FolderCorpus(kind="folder", source=str(speech))
    assert gather(read("mine", corpus, speech)) == expected
    assert "DVC" not in capsys.readouterr().err
    for speaker in linked:
        elsewhere = speech.parent / f"store-{speaker}"
        (speech / speaker).rename(elsewhere)
        (speech / speaker).symlink_to(elsewhere)
        (speech / speaker / "back").symlink_to(speech)
    found = gather(read("mine", corpus, speech))
    assert found == expected  # ids, paths below the folder, texts and speakers
    assert "after one: dvc repro --force --single-item fetch@mine" in capsys.readouterr().err


def faults_of(folder):
    """The faults, places without the folder; nothing of them is among the recordings and the supervisions."""
    recordings, supervisions, faults = gather(read_folder("mine", folder))
    faulty = {fault.id for fault in faults}
    assert not faulty & ({recording.id for recording in recordings} | {segment.id for segment in supervisions})
    assert [recording.id for recording in recordings] == [segment.id for segment in supervisions]
    return [(fault.id, fault.kind, fault.where.removeprefix(f"{folder}/")) for fault in faults]


def remove_folder(speech):
    speech.rename(speech.with_name("elsewhere"))


def remove_audio_everywhere(speech):
    for path in speech.rglob("*-*-*.*"):
        path.unlink()


def remove_transcripts(speech):
    for path in speech.rglob("*.trans.txt"):
        path.unlink()


def spoil_the_encoding(speech):
    (speech / "8/2/8-2.trans.txt").write_bytes(b"8-2-0000 CAF\xc9\n")


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (remove_folder, r"corpora\.mine\.source: .*speech: no such folder"),
        (remove_audio_everywhere, r"speech: no audio files"),
        (remove_transcripts, r"no \*\.trans\.txt below it; set corpora\.mine\.labelled"),
        (spoil_the_encoding, r"8-2\.trans\.txt: not UTF-8 \(byte 12\)"),
    ],
)
def test_what_leaves_nothing_is_refused_on_one_line(speech, fault, named):
    fault(speech)
    with pytest.raises(VelocityError, match=named) as caught:
        gather(read_folder("mine", speech))
    assert "\n" not in str(caught.value)


def remove_one_audio(speech):
    (speech / "7/1/7-1-0001.wav").unlink()


def remove_one_line(speech):
    (speech / "7/1/7-1.trans.txt").write_text("7-1-0000 HELLO THERE\n")


def repeat_a_line(speech):
    (speech / "8/2/8-2.trans.txt").write_text("8-2-0000 ONE TWO\n7-1-0000 HELLO\n")


def repeat_a_file(speech):
    soundfile.write(speech / "8/2/7-1-0000.wav", np.zeros(1000), 16_000)


def spoil_a_header(speech):
    (speech / "8/2/8-2-0000.ogg").write_bytes(b"not audio at all")


def empty_a_file(speech):
    (speech / "7/1/7-1-0001.wav").write_bytes(b"")


def leave_the_header_alone(speech):
    soundfile.write(speech / "7/1/7-1-0001.wav", np.zeros(0), 16_000)


def spoil_a_line(speech):
    (speech / "8/2/8-2.trans.txt").write_text("\n8-2-0000\n")


@pytest.mark.parametrize(
    ("fault", "kind", "utterance", "places"),
    [
        (remove_one_audio, "transcript-without-audio", "7-1-0001", ["7/1/7-1.trans.txt line 2"]),
        (remove_one_line, "audio-without-transcript", "7-1-0001", ["7/1/7-1-0001.wav"]),
        (repeat_a_line, "duplicate-id", "7-1-0000", ["7/1/7-1.trans.txt line 1", "8/2/8-2.trans.txt line 2"]),
        (repeat_a_file, "duplicate-id", "7-1-0000", ["7/1/7-1-0000.flac", "8/2/7-1-0000.wav"]),
        (spoil_a_header, "unreadable-audio", "8-2-0000", ["8/2/8-2-0000.ogg"]),
        (empty_a_file, "unreadable-audio", "7-1-0001", ["7/1/7-1-0001.wav"]),
        (leave_the_header_alone, "unreadable-audio", "7-1-0001", ["7/1/7-1-0001.wav"]),
        (spoil_a_line, "malformed-transcript", "8-2-0000", ["8/2/8-2.trans.txt line 2"]),
    ],
)
def test_a_fault_is_told_and_the_others_survive(speech, fault, kind, utterance, places):
    assert faults_of(speech) == []
    fault(speech)
    assert faults_of(speech) == [(f"mine/{utterance}", kind, place) for place in places]
    assert len(gather(read_folder("mine", speech))[0]) == 2


def test_what_is_wrong_twice_is_told_once(speech):
    (speech / "8/2/8-2.trans.txt").write_text("8-2-0000\n9-2-0000 NO AUDIO\n")
    spoil_a_header(speech)
    kinds = [(identity, kind) for identity, kind, _ in faults_of(speech)]
    assert kinds == [("mine/8-2-0000", "malformed-transcript"), ("mine/9-2-0000", "transcript-without-audio")]
