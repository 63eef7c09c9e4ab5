"""Three forms of a person's speech give the same utterances, in the order in which they were recorded."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from velocity.corpora.collection import in_order, read_collection
from velocity.errors import VelocityError

TEXTS = {"note 1": "Hello, there.", "note 2": "good bye", "note 10": "One two three"}


def record(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(16_000 * seconds)), 16_000)
    return path


def as_pairs(folder: Path) -> Path:
    for name, text in TEXTS.items():
        record(folder / f"{name}.wav").with_suffix(".txt").write_text(f"{text}\n")
    (folder / "README.txt").write_text("what this is")
    return folder


def as_table(folder: Path, ending: str = "csv") -> Path:
    with open(record(folder / "audio/note 1.wav").parents[1] / f"table.{ending}", "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t" if ending == "tsv" else ",")
        rows.writerow(["path", "text"])
        for name, text in TEXTS.items():
            record(folder / f"audio/{name}.wav")
            rows.writerow([f"audio/{name}.wav", text])
    return folder


def as_librispeech(folder: Path) -> Path:
    for number, text in enumerate(TEXTS.values(), 1):
        record(folder / f"7/1/7-1-{number}.flac")
        with open(folder / "7/1/7-1.trans.txt", "a") as file:
            file.write(f"7-1-{number} {text}\n")
    return folder


@pytest.mark.parametrize("form", [as_pairs, as_table, as_librispeech, lambda folder: as_table(folder, "tsv")])
def test_every_form_gives_the_same_utterances(form, tmp_path):
    found = read_collection(form(tmp_path / "speech"))
    assert [spoken.text for spoken in found] == list(TEXTS.values())
    assert {spoken.seconds for spoken in found} == {0.5}
    assert len({spoken.speaker for spoken in found}) == 1


def test_a_table_may_be_named_itself_and_name_speakers(tmp_path):
    record(tmp_path / "a.wav")
    record(tmp_path / "b.wav")
    (tmp_path / "x.csv").write_text("speaker,path,text\nAnn B,a.wav,hello\nCid,b.wav,bye\n")
    (tmp_path / "y.csv").write_text("path,text\na.wav,hello\n")
    assert [spoken.speaker for spoken in read_collection(tmp_path / "x.csv")] == ["AnnB", "Cid"]
    with pytest.raises(VelocityError, match=r"several tables \(x.csv, y.csv\); name one"):
        read_collection(tmp_path)


def test_pairs_in_folders_are_of_a_speaker_each(tmp_path):
    for name in ("ann/1", "bob/1", "bob/2"):
        record(tmp_path / f"{name}.wav").with_suffix(".txt").write_text("hello")
    assert [spoken.speaker for spoken in read_collection(tmp_path)] == ["ann", "bob", "bob"]


def test_what_does_not_belong_together_is_named(tmp_path, capsys):
    with pytest.raises(VelocityError, match="no such folder"):
        read_collection(tmp_path / "nowhere")
    record(tmp_path / "a.wav")
    with pytest.raises(VelocityError, match="no transcripts found; expected"):
        read_collection(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    record(tmp_path / "b.wav")
    assert len(read_collection(tmp_path)) == 1
    assert "1 audio files have no transcript and are left out" in capsys.readouterr().err
    (tmp_path / "b.txt").write_text(" ")
    with pytest.raises(VelocityError, match=r"b\.txt: .*malformed transcript"):
        read_collection(tmp_path)
    (tmp_path / "table.csv").write_text("path,text\na.wav,hello\nc.wav,bye\n")
    with pytest.raises(VelocityError, match=r"table\.csv row 2: c.wav: transcript without audio"):
        read_collection(tmp_path)
    (tmp_path / "table.csv").write_text("file,text\na.wav,hello\n")
    with pytest.raises(VelocityError, match="must name the columns path and text"):
        read_collection(tmp_path)
    (tmp_path / "table.csv").write_text("path,text\na.wav,hello\n")
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(VelocityError, match=r"a\.wav"):
        read_collection(tmp_path)


@given(st.lists(st.integers(0, 2000), unique=True))
def test_numbers_in_names_count_as_numbers(numbers):
    names = [f"note {number} of 7" for number in numbers]
    assert sorted(names, key=in_order) == [f"note {number} of 7" for number in sorted(numbers)]
