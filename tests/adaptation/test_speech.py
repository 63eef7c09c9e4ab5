"""What is held out of a person's speech, and the folders that the stages and the judges read."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from velocity.adaptation.speech import FOLDS, TEST, TRAIN, VALIDATED, divide, write_parts
from velocity.corpora.collection import Spoken, read_collection
from velocity.corpora.kinds.folder import read_folder
from velocity.errors import VelocityError


def spoken(speaker: str, count: int, seconds: float = 4.0) -> list[Spoken]:
    return [Spoken(Path(f"{speaker}{number}.wav"), "hello", speaker, seconds) for number in range(count)]


@given(st.lists(st.integers(10, 80), min_size=1, max_size=5).filter(lambda counts: sum(counts) >= 40))
def test_each_utterance_is_held_out_of_one_training_and_neighbours_together(counts):
    everything = [one for number, count in enumerate(counts) for one in spoken(f"s{number}", count)]
    folds = divide(everything, Path("speech"))
    assert len(folds) == FOLDS
    assert sorted(map(str, everything)) == sorted(str(one) for parts in folds for one in parts[TEST])
    for parts in folds:
        assert sorted(map(str, everything)) == sorted(str(one) for part in parts.values() for one in part)
        assert parts[VALIDATED]
        assert len(parts[TRAIN]) > len(everything) / 2
        for number, count in enumerate(counts):
            places = [everything.index(one) for one in parts[TEST] if one.speaker == f"s{number}"]
            assert places == list(range(places[0], places[-1] + 1))
            assert abs(len(places) - count / FOLDS) < 1


@pytest.mark.parametrize(("count", "seconds"), [(19, 10.0), (20, 1.0)])
def test_too_little_speech_is_refused_with_what_there_is(count, seconds):
    with pytest.raises(
        VelocityError, match=f"mine: {count * seconds:.0f} s of speech in {count} recordings are too little"
    ):
        divide(spoken("s", count, seconds), Path("mine"))


def test_many_speakers_of_one_recording_each_are_refused():
    with pytest.raises(VelocityError, match="too few recordings per speaker"):
        divide([one for number in range(30) for one in spoken(f"s{number}", 1)], Path("mine"))


def test_the_folders_are_librispeech_and_tell_the_parts_by_the_speaker(tmp_path):
    for number in range(24):
        path = tmp_path / f"mine/a - memo {number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(48_000), 16_000)
        path.with_suffix(".txt").write_text(f"text\nof {number}")
    *_, last = divide(read_collection(tmp_path / "mine"), tmp_path)
    write_parts(last, tmp_path / "parts")
    items = [item for item in read_folder("speech", tmp_path / "parts") if hasattr(item, "text")]
    assert Counter(item.speaker for item in items) == {"train_speaker": 15, "validation_speaker": 1, "test_speaker": 8}
    texts = {item.id: item.text for item in items}
    assert texts["speech/test_speaker-0008-a_memo_23"] == "text of 23"
    assert texts["speech/train_speaker-0001-a_memo_0"] == "text of 0"
