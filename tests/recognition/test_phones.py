"""A model with heads for letters and phones: which of them is read, in short and long audio, and ``lm tune``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.tone_model import add_phones, add_words, speak, write_model
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.commands.lm import tune
from velocity.errors import VelocityError, VelocityWarning
from velocity.phones import BOUNDARY, CLASSES
from velocity.recognition import offline, segmentation
from velocity.recognition.decoding import decoder
from velocity.recognition.language_model.file import write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.offline import VelocityASR

SENTENCES = ["the fox jumps over the lazy dog", "the box", "fox jumps", "a fox"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its phones are letters; its lexicon has ``phox`` for ``fox``, which tells phones from letters."""
    folder = add_phones(write_model(tmp_path_factory.mktemp("model") / "onnx"))
    sentences = [sentence.replace("fox", "phox") for sentence in SENTENCES]
    write_file(estimate(sentences, 2).tables(), folder / "plain.lm")
    return add_words(folder, sentences, {"phox": "fox"})


@pytest.fixture(scope="module")
def model(folder: Path) -> VelocityASR:
    return VelocityASR(folder)


def test_the_text_is_that_of_the_phones_and_the_letters_are_as_they_were(model: VelocityASR, folder: Path) -> None:
    sound = speak("the fox jumps", folder)
    assert model.reads_phones
    assert model.transcribe(sound) == "the phox jumps"
    letters, phones = model.log_probs(sound), model.phone_log_probs(sound)
    assert letters.shape[1] == model.config["vocabulary"] != CLASSES
    assert phones.shape == (len(letters), CLASSES)
    assert VelocityASR(folder, lm="none").decode_ctc(letters) == "the fox jumps"
    assert model.decoder.decode_phones(phones)[0].text == "the phox jumps"
    assert model(compute_mel_spectrogram(sound)).shape == (1, *letters.shape)
    (passage,) = model.passages(sound)
    (other,) = VelocityASR(folder, lm="none").passages(sound)
    times = lambda words: [(word.start, word.end) for word in words]  # noqa: E731
    assert [word.text for word in passage.words] == ["the", "phox", "jumps"]
    assert times(passage.words) == times(other.words), "phones are where letters are"


def test_phones_that_are_not_plausible_give_no_text(
    model: VelocityASR, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = speak("the fox jumps", folder)
    monkeypatch.setattr(segmentation, "PLAUSIBLE", 1.01)
    (passage,) = model.passages(sound)
    assert (passage.text, passage.words) == ("", [])
    assert VelocityASR(folder, lm="none").transcribe(sound) == "the fox jumps", "letters are taken as they are"


def test_letters_are_read_without_a_lexicon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "pronunciations", lambda words: {})  # as of words that espeak-ng cannot pronounce
    sound = speak("the fox jumps", folder)
    assert VelocityASR(folder, lm="none").transcribe(sound) == "the fox jumps"
    assert not VelocityASR(folder, lm=folder / "plain.lm").reads_phones
    model = VelocityASR(folder)
    with pytest.warns(VelocityWarning, match="text comes from letters"):
        model.decoder = model.new_decoder({"fox": 9.0})
    assert not model.reads_phones
    assert model.transcribe(sound) == "the fox jumps"


def test_a_model_without_phones_reads_letters(folder: Path, tmp_path: Path) -> None:
    model = VelocityASR(write_model(tmp_path / "letters"), lm=folder / "words.lm")
    assert model.decoder.reads_phones
    assert not model.reads_phones
    model.decoder = model.new_decoder(lm_weight=0.0)
    assert model.transcribe(speak("the box", folder)) == "the box"
    with pytest.raises(VelocityError, match="has no phone output"):
        model.phone_log_probs(speak("the box", folder))


def test_stretches_that_are_not_plausible_are_silence(
    model: VelocityASR, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = np.zeros(3 * SAMPLE_RATE, np.float32)
    sound = np.concatenate([speak("fox", folder), quiet, speak("the box", folder)])
    verdicts = iter([False, True, False, True])
    monkeypatch.setattr(offline, "plausible", lambda log_probs, blank: next(verdicts))
    (passage,) = model.passages(sound)
    assert passage.text == "the box"
    assert passage.words[0].start > 3.0
    log_probs = model.phone_log_probs(sound)
    first, second = np.split(log_probs.argmax(1), [round(3.0 / model.config["frame_seconds"])])
    assert set(first) == {0}
    assert set(second) != {0}


def test_a_short_voice_is_recognised_in_long_audio_as_by_itself(model: VelocityASR, folder: Path) -> None:
    quiet = np.zeros(3 * SAMPLE_RATE, np.float32)
    short = np.concatenate([quiet, speak("a", folder), quiet])
    active = segmentation.voice_activity(segmentation.periodicity(short))
    assert not active.any(), "too little evidence where the text is not checked"
    assert model.transcribe(short) == "a"
    sound = np.concatenate([*[quiet, speak("the box", folder)] * 6, short])
    assert len(sound) > 20 * SAMPLE_RATE
    assert model.transcribe(sound).split() == ["the", "box"] * 6 + ["a"]


@pytest.mark.parametrize("pause", [0.3, 1.3])
def test_long_audio_is_cut_between_words_and_joined_with_a_boundary(
    model: VelocityASR, folder: Path, pause: float
) -> None:
    text = " ".join([SENTENCES[0]] * 3)
    sound = speak(text, folder, pause)
    assert len(sound) > 20 * SAMPLE_RATE
    found = list(model.passages(sound))
    assert len(found) > 1
    expected = text.replace("fox", "phox").split()
    assert [word.text for passage in found for word in passage.words] == expected
    assert model.transcribe(sound).split() == expected
    edges = [edge for passage in found for word in passage.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)


def test_stretches_of_speech_are_joined_by_a_boundary(model: VelocityASR, folder: Path) -> None:
    quiet = np.zeros(3 * SAMPLE_RATE, np.float32)
    sound = np.concatenate([quiet, speak("fox", folder), quiet, speak("box", folder), quiet])
    path = model.phone_log_probs(sound).argmax(1)
    assert BOUNDARY in path
    assert model.transcribe(sound) == "phox box"


def test_the_weights_are_tuned_with_phones(model: VelocityASR, folder: Path, tmp_path: Path) -> None:
    recordings = tmp_path / "speech" / "1" / "2"
    recordings.mkdir(parents=True)
    for number, text in enumerate(["the fox", "fox jumps"]):
        soundfile.write(recordings / f"1-2-{number}.wav", speak(text, folder), SAMPLE_RATE)
    (recordings / "1-2.trans.txt").write_text("1-2-0 THE PHOX\n1-2-1 PHOX JUMPS\n")
    rows = tune(model, [str(tmp_path / "speech")], "", 1, [0.1], [0.0])
    assert {row["weight"]: row["wer"] for row in rows} == {0.1: 0.0, 0.0: 0.5}, "the best path reads letters"
