"""What of a recognised recording becomes utterances to train on, and the corpus that ``velocity-asr label`` makes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.command import run
from tests.tone_model import speak, write_model, write_speech
from velocity.audio import SAMPLE_RATE, load_audio
from velocity.corpora.kinds.folder import read_folder
from velocity.recognition.decoding.decoder import Hypothesis
from velocity.recognition.decoding.words import Word
from velocity.recognition.offline import Passage, VelocityASR
from velocity.recognition.pseudo_labels import FIRST_CUT, LONGEST, MARGIN, TOO_LONG, pseudo_labels

WORDS = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.1, 1.0), st.floats(0.0, 1.0)), max_size=60)


def passage(spans: list[tuple[float, float, float]]) -> Passage:
    """Words of (pause before it, seconds, confidence)."""
    words, at = [], 0.0
    for number, (pause, seconds, sure) in enumerate(spans):
        words.append(Word(f"w{number}", at + pause, at + pause + seconds, sure))
        at = words[-1].end
    return Passage(0.0, at, [Hypothesis(" ".join(word.text for word in words), 0.0, words)])


@given(WORDS)
def test_every_word_is_in_one_utterance_if_nothing_is_left_out_for_its_confidence(spans):
    whole = passage(spans)
    labels = list(pseudo_labels([whole], whole.end, 0.0))
    found = " ".join(label.text for label in labels).split()
    assert found == sorted(set(found), key=lambda word: int(word[1:]))
    for label in labels:
        names = label.text.split()
        words = [word for word in whole.words if word.text in names]
        assert [word.text for word in words] == names, "words that follow each other"
        assert len(words) >= 3
        assert label.end - label.start <= TOO_LONG
        assert label.start == max(0.0, words[0].start - MARGIN)
        assert label.end == min(whole.end, words[-1].end + MARGIN)
        if words[-1].end - words[0].start > LONGEST:  # only where every pause is next to an end
            inner = [word for word in words if word.end > words[0].start + FIRST_CUT]
            assert not any(after.start < words[-1].end - FIRST_CUT for after in inner[1:])


def test_confidence_is_the_geometric_mean_of_the_words():
    (label,) = pseudo_labels([passage([(0.1, 0.3, 0.9), (0.1, 0.3, 0.4), (0.1, 0.3, 0.6)])], 9.0, 0.5)
    assert label.confidence == pytest.approx((0.9 * 0.4 * 0.6) ** (1 / 3))
    assert not list(pseudo_labels([passage([(0.1, 0.3, 0.9), (0.1, 0.3, 0.0), (0.1, 0.3, 0.9)])], 9.0, 0.5))
    assert not list(pseudo_labels([passage([(0.1, 0.3, 1.0)] * 2)], 9.0, 0.5)), "two words are too few"


def test_long_speech_is_cut_at_its_longest_pause():
    spans = [(0.1, 0.9, 0.8)] * 15
    spans[6] = (0.4, 0.9, 0.8)
    first, second = pseudo_labels([passage(spans)], 99.0, 0.5)
    assert len(first.text.split()) == 6
    assert second.start == pytest.approx(first.end + 0.4 - 2 * MARGIN)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx-int8", "onnx-int8")


def test_label_makes_a_corpus_that_is_read(model, tmp_path, capsys):
    write_speech(tmp_path / "in/anna/one/anna-one-1.wav", "the cat sat", model)
    write_speech(tmp_path / "in/anna/one/anna-one-2.wav", "on", model)  # too few words
    write_speech(tmp_path / "in/ben/memo.wav", "go on and on", model)
    soundfile.write(tmp_path / "in/ben/hiss.wav", np.random.default_rng(0).normal(0, 0.1, 30_000), SAMPLE_RATE)
    out = tmp_path / "out"
    status, _, report = run(capsys, "label", tmp_path / "in", "--out", out, "--model", model)
    assert (status, "label: 2 utterances" in report) == (0, True)
    items = list(read_folder("mine", out))
    texts = {item.speaker: item.text for item in items if hasattr(item, "text")}
    assert texts == {"anna": "the cat sat", "ben": "go on and on"}
    for item in items:
        if not hasattr(item, "text"):
            path = Path(item.sources[0].source)
            assert VelocityASR(model).transcribe(path) in texts.values()
    cut, whole = load_audio(out / "anna/one/anna-one-1-000.flac"), speak("the cat sat", model)
    assert len(whole) - 0.1 * SAMPLE_RATE < len(cut) <= len(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--out", "in"], "in: exists already"),
        (["nowhere", "--out", "out"], "nowhere: no such folder"),
        (["in", "--out", "out", "--confidence", "1"], "in: no speech with a confidence of 1 or more"),
        (["broken", "--out", "out"], "could not be read:\n  broken/ben/bad.wav"),
    ],
)
def test_label_refuses_with_a_line_and_leaves_nothing_half_made(
    model, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    write_speech(Path("in/ben/memo.wav"), "the cat sat", model)
    write_speech(Path("broken/ben/memo.wav"), "the cat sat", model)
    Path("broken/ben/bad.wav").write_bytes(b"RIFF nothing")
    status, _, error = run(capsys, "label", *arguments, "--model", model)
    assert (status, message in error) == (2, True)
    assert Path("out").is_dir() == ("broken" in arguments), "what could be read is kept"
