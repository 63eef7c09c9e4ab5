"""Live recognition of tones: what is known when, however the sound is cut, and what ends an utterance."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streaming_tones import CHUNK, write_streaming_model
from tests.tone_model import add_phones, add_words, speak, write_model
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram, resample
from velocity.cli import main
from velocity.errors import VelocityError
from velocity.phones import CLASSES
from velocity.recognition.decoding.decoder import Decoder, Hypothesis
from velocity.recognition.decoding.words import Word
from velocity.recognition.language_model.file import write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.offline import VelocityASR
from velocity.recognition.onset import FeatureStream, Onset
from velocity.recognition.streaming import Endpoint, Event, StreamingASR
from velocity.recognition.utterance import DECIDED, PhoneUtterance

SENTENCE = "the quick brown fox's tail jumps over"
EVERYTHING = Endpoint(pause=1e9, silence=1e9, longest=1e9)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_model(folder / "onnx")
    write_streaming_model(folder / "onnx-streaming")
    return folder


@pytest.fixture(scope="module")
def model(exports: Path) -> StreamingASR:
    return StreamingASR.from_pretrained(exports)


def cut(audio: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """``audio`` in pieces of these sizes, over and over."""
    ends = np.cumsum(np.resize(sizes, len(audio) // max(1, min(sizes)) + 1))
    return np.split(audio, ends[ends < len(audio)])


def finals(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.type == "final"]


@settings(max_examples=60)
@given(st.integers(0, 12_000), st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.integers(0, 3))
def test_features_of_a_stream_are_those_of_the_whole(samples: int, sizes: list[int], lead: int) -> None:
    audio = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    stream, frames = FeatureStream(lead), []
    for piece in cut(audio, sizes):
        stream.accept(piece)
        while (mel := stream.take(CHUNK)) is not None:
            assert len(mel) == CHUNK
            frames.append(mel)
    found = np.concatenate([*frames, stream.rest()])[lead:]
    expected = np.asarray(compute_mel_spectrogram(audio))[: -(-samples // 160)]  # of nothing it makes one frame
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= 1e-4


@settings(max_examples=15)
@given(st.lists(st.integers(40, 40_000), min_size=1, max_size=4), st.booleans())
def test_events_do_not_depend_on_how_sound_is_cut(model: StreamingASR, sizes: list[int], integers: bool) -> None:
    folder = model.folder
    audio = np.concatenate([speak("one two", folder, pause=0.3), np.zeros(20_000), speak("three", folder)])
    audio = (audio * 32767).astype(np.int16)
    whole = list(model.transcribe_stream([audio]))
    found = list(model.transcribe_stream(cut(audio if integers else audio.astype(np.float32) / 32768, sizes)))
    assert [(e.type, e.stable, e.partial, e.words) for e in found] == [
        (e.type, e.stable, e.partial, e.words) for e in whole
    ]
    assert finals(found) == ["one two", "three"]


@settings(max_examples=25)
@given(st.lists(st.text("abc'xyz", min_size=1, max_size=6), min_size=1, max_size=6), st.floats(0, 1.5))
def test_stable_text_only_grows_and_ends_as_the_final_one(model: StreamingASR, words: list[str], pause: float) -> None:
    said = " ".join(word.replace("'", "o") for word in words)
    stable, ended = "", []
    for event in model.transcribe_stream(cut(speak(said, model.folder, pause), [5120])):
        assert event.stable.startswith(stable)
        assert len(event.words) == len(event.stable.split())
        assert event.type == "partial" or not event.partial
        stable = event.stable if event.type == "partial" else ""
        ended += [event.stable] if event.type == "final" else []
    assert " ".join(ended) == said


@pytest.mark.parametrize("hundredths", range(72, 132, 6))
def test_no_word_is_lost_at_an_endpoint(model: StreamingASR, hundredths: int) -> None:
    pause = np.zeros(SAMPLE_RATE * hundredths // 100, dtype=np.float32)
    audio = np.concatenate([speak("one", model.folder), pause, speak("two", model.folder)])
    text = " ".join(finals(list(model.transcribe_stream([audio]))))
    assert text.replace(" ", "") == "onetwo"


def test_the_text_is_that_of_the_whole_recognised_at_once(model: StreamingASR, exports: Path) -> None:
    offline = VelocityASR.from_pretrained(exports)
    audio = speak(SENTENCE, exports / "onnx") + 0.01 * np.random.default_rng(0).standard_normal(1)[0]
    for samples in (len(audio), len(audio) - 700, 3000, 200, 1):
        stream = model.stream(EVERYTHING)
        events = stream.accept(audio[:samples]) + stream.finish()
        text = offline.decode_ctc(offline(compute_mel_spectrogram(audio[:samples])))
        assert " ".join(finals(events)) == text
        if text:
            frames = len(compute_mel_spectrogram(audio[:samples]))
            assert stream._utterance.end == (frames + 1) // 2  # nothing beyond the end is listened to
            expected = offline.decoder.decode(offline(compute_mel_spectrogram(audio[:samples]))[0])[0].words
            for word, other in zip(events[-1].words, expected, strict=True):
                assert word.text == other.text
                assert np.allclose([word.start, word.end], [other.start, other.end])
                assert word.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_a_final_is_decoded_with_the_language_model(exports: Path, tmp_path: Path) -> None:
    lm = tmp_path / "words.lm"
    write_file(estimate(["the fox", "the box", "fox jumps"], 2).tables(), lm)
    audio = speak("the fox jumps", exports / "onnx")
    model = StreamingASR.from_pretrained(exports, lm=lm)
    plain = list(StreamingASR.from_pretrained(exports, lm="none").transcribe_stream(cut(audio, [1600])))
    found = list(model.transcribe_stream(cut(audio, [1600])))
    assert [event.text for event in found] == [event.text for event in plain]  # the sound leaves no doubt
    for word, expected in zip(found[-1].words, plain[-1].words, strict=True):
        assert (word.start, word.end) == pytest.approx((expected.start, expected.end), abs=0.05)
    # A language model that insists on other words changes the final, and nothing before it.
    model.decoder = Decoder(model.tokenizer, model.frame_seconds, hotwords={"the box": 60.0})
    changed = list(model.transcribe_stream(cut(audio, [1600])))
    assert changed[:-1] == found[:-1]
    assert changed[-1].type == "final"


@pytest.fixture(scope="module")
def phonetic(tmp_path_factory: pytest.TempPathFactory) -> StreamingASR:
    """It gives phones, of which its lexicon makes ``phox`` where the letters are ``fox``."""
    folder = tmp_path_factory.mktemp("phonetic")
    words = ["the", "quick", "brown", "phox", "jumps", "over", "one", "two"]
    for target, write in (("onnx", write_model), ("onnx-streaming", write_streaming_model)):
        add_words(add_phones(write(folder / target)), [" ".join(words)], {"phox": "fox"})
    return StreamingASR.from_pretrained(folder)


def test_text_is_that_of_the_phones(phonetic: StreamingASR) -> None:
    audio = speak("the quick brown fox jumps over", phonetic.folder)
    assert phonetic.reads_phones
    *partials, final = phonetic.transcribe_stream(cut(audio, [1600]))
    offline = VelocityASR(phonetic.folder.parent / "onnx")
    (passage,) = offline.passages(audio)
    assert final.text == passage.text == "the quick brown phox jumps over"
    for word, expected in zip(final.words, passage.words, strict=True):
        assert (word.start, word.end) == pytest.approx((expected.start, expected.end), abs=0.025)
        assert word.confidence == pytest.approx(expected.confidence, abs=1e-3)
    assert partials[0].text
    for event, following in itertools.pairwise(partials):
        assert following.stable.startswith(event.stable)
        assert following.start == event.start
    for event in partials:
        assert "the quick brown phox jumps over".startswith(event.stable)
        assert len(event.words) == len(event.stable.split())
    assert any(len(event.words) >= 3 for event in partials), "words are stable before the utterance ends"
    letters = StreamingASR(phonetic.folder, lm="none")
    assert not letters.reads_phones
    assert finals(list(letters.transcribe_stream([audio]))) == ["the quick brown fox jumps over"]


def test_a_complete_utterance_is_recognised_again_with_the_state_after_it(
    phonetic: StreamingASR, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = phonetic.step, []

    def recorded(mel: np.ndarray, state: dict, phones: bool = False) -> tuple[np.ndarray, dict]:
        log_probs, after = step(mel, state, phones)
        calls.append((mel, state, after))
        return log_probs, after

    monkeypatch.setattr(phonetic, "step", recorded)
    audio = np.concatenate([speak("one two", phonetic.folder, 0.3), np.zeros(30_000), speak("fox", phonetic.folder)])
    assert finals(list(phonetic.transcribe_stream([audio]))) == ["one two", "phox"]
    lengths = [len(mel) for mel, *_ in calls]
    again = [index for index, length in enumerate(lengths) if length > phonetic.chunk_frames]
    assert len(again) == 2
    assert again[1] == len(calls) - 1
    for first, index in zip((0, again[0] + 1), again, strict=True):
        mel, state, _ = calls[index]
        assert np.array_equal(mel, np.concatenate([chunk for chunk, *_ in calls[first:index]]))
        assert state is calls[index - 1][2]
        assert not any(array.any() for array in calls[first][1].values())


@settings(max_examples=10)
@given(st.lists(st.integers(40, 40_000), min_size=1, max_size=4))
def test_events_of_phones_do_not_depend_on_how_sound_is_cut(phonetic: StreamingASR, sizes: list[int]) -> None:
    audio = np.concatenate([speak("one two", phonetic.folder, 0.3), np.zeros(30_000), speak("fox", phonetic.folder)])
    whole, found = (list(phonetic.transcribe_stream(pieces)) for pieces in ([audio], cut(audio, sizes)))
    assert [(e.type, e.stable, e.partial, e.words) for e in found] == [
        (e.type, e.stable, e.partial, e.words) for e in whole
    ]
    assert finals(found) == ["one two", "phox"]


def test_what_only_began_as_a_word_is_taken_back(phonetic: StreamingASR, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds a word, and prefers phones of no word from the next chunk on."""
    search, seen = Decoder.words_so_far, []

    def changing(*given) -> tuple[list[Word], int]:
        if "over" in seen:
            return [], 0
        found = search(*given)
        seen.extend(word.text for word in found[0])
        return found

    monkeypatch.setattr(Decoder, "words_so_far", changing)
    monkeypatch.setattr(Decoder, "phone_hypotheses", lambda *_: [Hypothesis("", 0.0)])
    audio = np.concatenate([speak("over", phonetic.folder), np.zeros(30_000)])
    events = list(phonetic.transcribe_stream(cut(audio, [1600])))
    assert [event.text for event in events] == ["over", ""]
    assert [event.type for event in events] == ["partial", "partial"]
    assert (events[0].start, events[0].end) == (events[1].start, events[1].end)


def test_a_word_in_the_middle_is_stable_within_a_second(phonetic: StreamingASR) -> None:
    audio = speak("the quick brown fox jumps over", phonetic.folder)
    seen = 0
    for event in phonetic.transcribe_stream(cut(audio, [1600])):
        if event.type == "partial" and len(event.words) > seen:
            seen = len(event.words)
            assert event.received - event.words[-1].end <= DECIDED + 0.16 + 0.1 + 0.0125
    assert seen >= 3


def test_asking_twice_settles_nothing_more() -> None:
    """Two of three words are agreed on; the third, no older, is not, however often one asks."""
    words = [Word("a", 0.0, 0.1, 1.0), Word("b", 0.1, 0.2, 1.0), Word("c", 0.2, 0.3, 1.0)]
    search = SimpleNamespace(accept=lambda log_probs: None)
    decoder = SimpleNamespace(
        frame_seconds=0.04, search_phones=lambda: search, words_so_far=lambda search, log_probs: (words, 2)
    )
    utterance = PhoneUtterance(0, decoder)
    utterance.add(np.log(np.full((15, CLASSES), 1e-3) + np.eye(CLASSES)[[2]]))  # 0.6 s of a phone
    assert [utterance.settle(), utterance.settle()] == [2, 2]
    assert utterance.stable_and_partial() == ("a b", "c")


def test_what_is_no_word_is_no_text(phonetic: StreamingASR) -> None:
    """Phones that the lexicon does not have: nothing is written for them, and times and words go on after them."""
    audio = np.concatenate([speak("zzzz", phonetic.folder), np.zeros(30_000), speak("one", phonetic.folder)])
    events = list(phonetic.transcribe_stream(cut(audio, [1600])))
    assert finals(events)[-1] == "one"
    assert all(event.words or event.partial for event in events)


def test_a_word_is_stable_soon_after_it_was_said(model: StreamingASR) -> None:
    first, rest = speak("hello", model.folder), np.zeros(SAMPLE_RATE, dtype=np.float32)
    stream, received = model.stream(), 0
    for piece in cut(np.concatenate([first, rest]), [1600]):
        received += len(piece)
        if any(event.stable for event in stream.accept(piece)):
            break
    # 0.24 s without a letter, at most a step of 160 ms more, 12.5 ms of the last window, and a piece of 100 ms
    assert 0.24 <= (received - len(first)) / SAMPLE_RATE + 0.06 <= 0.24 + 0.16 + 0.0125 + 0.1


def test_a_pause_ends_an_utterance_and_times_go_on(model: StreamingASR) -> None:
    folder = model.folder
    pause = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    audio = np.concatenate([pause, speak("one", folder), pause, speak("two", folder), pause])
    one, two = (event for event in model.transcribe_stream(cut(audio, [5120])) if event.type == "final")
    assert (one.text, two.text) == ("one", "two")
    assert one.start == pytest.approx(3.1, abs=0.1)
    assert two.start == pytest.approx(6.1 + len(speak("one", folder)) / SAMPLE_RATE, abs=0.1)
    assert one.end < one.received < two.start  # known before the next one began


def test_a_long_utterance_ends_between_two_words_or_anywhere(model: StreamingASR) -> None:
    said = " ".join(["abcabcabc"] * 12)  # 1.8 s a word
    paused = speak(said, model.folder, pause=0.4)
    cuts = finals(list(model.transcribe_stream([paused], Endpoint(pause=5, longest=6))))
    assert len(cuts) > 2
    assert " ".join(cuts) == said
    never = speak(said.replace(" ", ""), model.folder)
    cuts = list(model.transcribe_stream([never], Endpoint(pause=5, longest=3)))
    assert all(event.words[-1].end - event.words[0].start <= 6.2 for event in cuts if event.type == "final")
    assert "".join(finals(cuts)).replace("aa", "a") == said.replace(" ", "")  # a letter may be heard twice at a cut


@pytest.mark.parametrize("kind", ["silence", "speech", "one endless tone"])
def test_memory_does_not_grow(model: StreamingASR, kind: str) -> None:
    """Everything that a stream holds, after 20 s and after 5 minutes of the same."""
    second = {
        "silence": np.zeros(SAMPLE_RATE, dtype=np.float32),
        "speech": np.concatenate([speak("on", model.folder), np.zeros(SAMPLE_RATE, dtype=np.float32)]),
        "one endless tone": np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 1000 / SAMPLE_RATE).astype(np.float32),
    }[kind]
    stream, sizes = model.stream(Endpoint(longest=4.0)), []
    while stream.seconds < 300:
        stream.accept(second)
        utterance, held = stream._utterance, len(stream._features._buffer) + len(stream._recent)
        if utterance:
            frames = utterance.end - utterance.start
            assert stream._state["position"].item() == frames <= 8 / 0.02 + 8
            held += len(utterance._tokens)
        sizes.append(held)
    assert max(sizes[len(sizes) // 15 :]) <= max(sizes[: len(sizes) // 15])


def test_silence_says_nothing(model: StreamingASR) -> None:
    assert list(model.transcribe_stream([np.zeros(30 * SAMPLE_RATE, dtype=np.float32)])) == []
    assert list(model.transcribe_stream([])) == []


def test_sound_of_the_wrong_kind(model: StreamingASR) -> None:
    stream = model.stream()
    for wrong in (np.zeros((2, 100)), np.array([0.0, np.nan])):
        with pytest.raises(VelocityError, match="expected"):
            stream.accept(wrong)
    assert stream.finish() == stream.finish() == []
    with pytest.raises(VelocityError, match="finished"):
        stream.accept(np.zeros(10))


def _config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


BREAKS = {
    "another state": (
        lambda folder: _config(folder, streaming={"chunk_frames": 16, "lead_frames": 1, "after": "", "state": {}}),
        "its state is not that of",
    ),
    "no state": (lambda folder: _config(folder, streaming={"chunk_frames": 16}), "export it again"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_broken_models_are_named_on_one_line(tmp_path: Path, fault: str) -> None:
    spoil, named = BREAKS[fault]
    folder = write_streaming_model(tmp_path / "broken")
    spoil(folder)
    with pytest.raises(VelocityError, match=named) as caught:
        StreamingASR(folder)
    assert "broken" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_hears_whole_utterances_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "onnx")
    with pytest.raises(VelocityError, match=r"onnx: does not stream: train with model\.direction: causal"):
        StreamingASR.from_pretrained(tmp_path)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["stream", *arguments])
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8000, 1)])
def test_a_file_and_raw_samples(exports, tmp_path, capsys, monkeypatch, rate, channels) -> None:
    from velocity.audio import resample

    spoken = speak("abc", exports / "onnx")
    audio = np.repeat(resample(spoken, 16_000, rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / "a.wav", audio, rate)
    raw = tmp_path / "a.raw"
    raw.write_bytes((audio * 32767).astype("<i2").tobytes() + b"\0")  # half a sample too many
    common = ["--model", str(exports / "onnx-streaming")]
    assert run([str(tmp_path / "a.wav"), "--fast", *common], capsys) == (0, "abc\n", "")
    with raw.open("rb") as file:
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        arguments = ["-", "--rate", str(rate), "--channels", str(channels), "--format", "json", *common]
        status, out, _ = run(arguments, capsys)
    events = [json.loads(line) for line in out.splitlines()]
    assert (status, events[-1]["type"], events[-1]["text"]) == (0, "final", "abc")
    assert [word["word"] for word in events[-1]["words"]] == ["abc"]
    assert all(event["latency"] >= 0 for event in events)
    assert all({"type", "text", "stable", "start", "end", "latency"} <= event.keys() for event in events)


def test_a_closed_standard_input_is_one_line(exports, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    status, _, err = run(["-", "--model", str(exports / "onnx-streaming")], capsys)
    assert (status, err) == (2, "error: standard input is closed: pipe audio into the command, or name a file\n")


def test_mistakes_on_the_command_line(exports, tmp_path, capsys, monkeypatch) -> None:
    common = ["--model", str(exports / "onnx-streaming")]
    for arguments in ([], ["-", "--microphone"]):
        status, _, err = run([*arguments, *common], capsys)
        assert (status, err.count("\n")) == (2, 1)
        assert "name a FILE, - for stdin, or --microphone" in err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = run(["--microphone", *common], capsys)
    assert status == 2
    assert "pip install 'velocity-asr[microphone]'" in err
    with open(tmp_path / "a.wav", "wb+") as file:
        file.write(b"RIFF\0\0\0\0WAVE")
        file.seek(0)
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": file}))
        status, _, err = run(["-", *common], capsys)
    assert status == 2
    assert "raw samples are expected" in err


def test_the_microphone_is_switched_off_with_ctrl_c(exports, capsys, monkeypatch) -> None:
    """A microphone that says a word and is then interrupted as Python interrupts a blocked read."""
    spoken = (32767 * speak("abc", exports / "onnx")).astype(np.int16)
    blocks = cut(spoken, [5120])

    class Microphone:
        def __init__(self, rate, size, device, channels, dtype):
            assert (rate, size, device, channels, dtype) == (16_000, 5120, None, 1, "int16")

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def read(self, size):
            if not blocks:
                raise KeyboardInterrupt
            return blocks.pop(0)[:, None], False

    fake = type("SoundDevice", (), {"InputStream": Microphone, "PortAudioError": RuntimeError})
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    status, out, _ = run(["--microphone", "--model", str(exports / "onnx-streaming")], capsys)
    assert (status, out) == (0, "abc\n")


def test_a_real_ctrl_c_ends_with_the_final_text(exports) -> None:
    command = [sys.executable, "-m", "velocity.cli", "stream", "-", "--format", "json"]
    process = subprocess.Popen(
        [*command, "--model", str(exports / "onnx-streaming")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False, env=os.environ,
    )  # fmt: skip
    spoken = (32767 * speak("abc", exports / "onnx")).astype("<i2")
    process.stdin.write(np.pad(spoken, (0, -len(spoken) % 5120)).tobytes())
    process.stdin.flush()
    while (event := json.loads(process.stdout.readline()))["text"] != "abc":  # all is heard, and it waits for more
        assert event["type"] == "partial"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["text"]) == ("final", "abc")


@pytest.mark.parametrize("gain", [0, -20, -40])
def test_speech_is_an_onset_at_any_gain(gain: float) -> None:
    from velocity.corpora.hibari import hibari_voices

    (voice,) = hibari_voices(1, seed=3)
    speech, rate = voice.speak("we have never seen a better book than this one", speed=1.0, pitch=1.0, seed=1)
    speech = resample(np.asarray(speech, dtype=np.float32), rate)
    speech *= 10 ** ((gain - 26) / 20) / speech.std()  # as loud as read speech usually is, and quieter
    quiet = np.zeros(SAMPLE_RATE, dtype=np.float32)
    dither = np.random.default_rng(0).uniform(-1 / 32768, 1 / 32768, len(speech) + 2 * SAMPLE_RATE)
    samples = np.concatenate([quiet, speech, quiet]) + dither.astype(np.float32)
    onset = Onset().find(compute_mel_spectrogram(samples))
    assert onset is not None
    assert 98 <= onset <= 160
