"""Long audio: nothing is lost at the joints, memory does not grow, and noise has no words."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tone_model import speak
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram
from velocity.recognition.decoding.greedy import greedy
from velocity.recognition.offline import VelocityASR
from velocity.recognition.segmentation import (
    APART,
    LONGEST,
    VOICE_STEP,
    WHOLE,
    chunks,
    periodicity,
    plausible,
    split_posteriors,
    stretches,
    voice_activity,
)

SENTENCE = "the quick brown fox's tail jumps over"
FRAME = 320  # samples of a frame of the model of tones


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE)).astype(np.float32)


@settings(max_examples=20)
@given(
    st.lists(st.floats(min_value=0.01, max_value=50), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from([320, 640]),
)
def test_chunks_are_all_of_the_audio_once(lengths: list[float], pauses: float, frame: int) -> None:
    audio = noise(sum(lengths), seed=len(lengths))
    for start in range(5 * SAMPLE_RATE, len(audio), 9 * SAMPLE_RATE):
        audio[start : start + round(pauses * SAMPLE_RATE)] = 0
    ends = np.cumsum([round(length * SAMPLE_RATE) for length in lengths])[:-1]
    found = list(chunks(np.split(audio, ends), frame))
    assert np.array_equal(np.concatenate([samples[start:end] for samples, start, end, _ in found]), audio)
    assert all(start % frame == 0 and end % frame == 0 for _, start, end, _ in found[:-1])
    assert max(end - start for _, start, end, _ in found) <= WHOLE * SAMPLE_RATE
    if len(audio) <= WHOLE * SAMPLE_RATE:
        assert len(found) == 1
    assert [chunk.alone for chunk in found] == [len(found) == 1] * len(found)


@pytest.mark.parametrize(("level", "alone"), [(0.0, True), (0.001, True), (0.1, False)])
def test_what_follows_a_minute_of_quiet_is_alone(level: float, alone: bool) -> None:
    audio = np.concatenate([level * noise(60), noise(3)])
    *before, last = chunks([audio], FRAME)
    assert last.alone == alone
    assert not any(chunk.alone for chunk in before)
    followed = np.concatenate([level * noise(60), noise(23)])
    assert not any(chunk.alone for chunk in chunks([followed], FRAME))


def test_cuts_are_in_the_pauses_and_both_sides_hear_the_other() -> None:
    audio = noise(60)
    pauses = (14, 27, 43)
    for start in pauses:
        audio[start * SAMPLE_RATE : round((start + 0.5) * SAMPLE_RATE)] *= 0.01
    found = list(chunks([audio], FRAME))
    ends = np.cumsum([end - start for _, start, end, _ in found]) / SAMPLE_RATE
    assert [int(end) for end in ends[:3]] == list(pauses)
    for before, after in pairwise(found):
        assert len(before.samples) - before.end == after.start == SAMPLE_RATE
        assert np.array_equal(before.samples[-2 * SAMPLE_RATE :], after.samples[: 2 * SAMPLE_RATE])


@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_nothing_is_lost_at_the_joints(model: VelocityASR, folder: Path, pause: float) -> None:
    text = " ".join([SENTENCE] * 8)
    samples = speak(text, folder, pause)
    assert len(samples) > 2 * LONGEST * SAMPLE_RATE
    whole = model(compute_mel_spectrogram(samples))[0]
    joined = model.log_probs(samples)
    assert joined.shape == whole.shape
    same = np.isclose(joined, whole, atol=1e-3).all(axis=1)  # this model sees no further than a frame
    assert same.mean() > 0.6
    assert not whole[~same].argmax(axis=1).any()  # what is made silence was blank
    assert not joined[~same].argmax(axis=1).any()
    found = list(model.passages(samples))
    assert len(found) > 2
    assert " ".join(passage.text for passage in found) == model.transcribe(samples) == text
    words = [word for passage in found for word in passage.words]
    assert [word.text for word in words] == text.split()
    assert all(one.start < one.end <= other.start for one, other in pairwise(words))
    ((alone,),) = (passage.hypotheses for passage in model.passages(speak(SENTENCE, folder, pause)))
    for one, other in zip(alone.words, words, strict=False):  # the times are those of the whole
        assert abs(one.start - other.start) < 0.05
    assert abs(words[-1].end - len(samples) / SAMPLE_RATE) < 0.3


@st.composite
def peaky_posteriors(draw: st.DrawFn) -> tuple[np.ndarray, list[int]]:
    """(frames, 6) log-posteriors of a drawn path, and where it is cut into pieces. Class 0 is the blank."""
    path = draw(st.lists(st.integers(0, 5), min_size=1, max_size=80))
    log_probs = np.full((len(path), 6), -9.0, dtype=np.float32)
    log_probs[np.arange(len(path)), path] = -0.01
    return log_probs, sorted(draw(st.sets(st.integers(1, len(path)), max_size=6)))


@settings(max_examples=200)
@given(peaky_posteriors())
def test_the_best_path_of_the_passages_is_that_of_the_whole(drawn: tuple[np.ndarray, list[int]]) -> None:
    log_probs, cuts = drawn
    begins = np.array([False, False, True, True, False, False])
    pieces = [piece for piece in np.split(log_probs, cuts) if len(piece)]
    found = list(split_posteriors(iter(pieces), begins, 0))
    for (first, part), (after, _) in pairwise(found):
        assert (log_probs[first + len(part) : after].argmax(1) == 0).all()  # only silence is left out
    for first, part in found:
        assert np.array_equal(part, log_probs[first : first + len(part)])
    tokens = [token for _, part in found for token in greedy(part)]
    if all(len(np.unique(piece.argmax(1))) > 1 or piece[0].argmax() == 0 for piece in pieces):  # else one endless class
        assert tokens == greedy(log_probs)


def test_memory_does_not_grow_with_the_audio(model: VelocityASR, folder: Path) -> None:
    sentence = speak(SENTENCE, folder, pause=0.3)

    def peak(repeats: int) -> int:
        tracemalloc.start()
        blocks: Iterator[np.ndarray] = (sentence for _ in range(repeats))
        words = sum(len(passage.text.split()) for passage in model.passages(blocks))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert words == repeats * (len(SENTENCE.split()) - 1) + 1  # no space between two sentences
        return most

    assert peak(40) < 1.2 * peak(12)


def coloured(kind: str) -> np.ndarray:
    random = np.random.default_rng(5)
    white = random.standard_normal(60 * SAMPLE_RATE)
    if kind == "pink":
        spectrum = np.fft.rfft(white)
        white = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(white))
    elif kind == "gusts":
        white *= 1 + 0.9 * np.sin(np.arange(len(white)) / SAMPLE_RATE * 2)
    elif kind == "clicks":
        white = 1e-3 * white + (random.random(len(white)) < 1e-4)
    elif kind == "silence":
        white *= 0
    return (0.1 * white / max(white.std(), 1e-9)).astype(np.float32)


@pytest.mark.parametrize("kind", ["white", "pink", "gusts", "clicks", "silence"])
@pytest.mark.parametrize(("alone", "checked"), [(False, False), (True, False), (True, True)])
def test_noise_is_no_voice(kind: str, alone: bool, checked: bool) -> None:
    assert voice_activity(periodicity(coloured(kind)), alone, checked).mean() < 0.01


def test_noise_is_not_plausible_and_phones_that_are_sure_are() -> None:
    unsure, sure = (np.log(np.array([[0.1, best, 0.9 - best], [0.96, 0.02, 0.02]])) for best in (0.46, 0.89))
    assert not plausible(np.log(np.full((5, 3), 1 / 3)), blank=1)  # of three classes, a third each
    assert plausible(unsure, blank=0)  # the mean of 0.46; the other frame is blank
    assert not plausible(np.log([[0.3, 0.39, 0.31]]), blank=0)
    assert plausible(sure, blank=0)
    assert not plausible(sure[1:], blank=0)  # nothing but blanks


@pytest.mark.parametrize("seconds", [5, 50])
def test_noise_has_no_words_where_a_model_hears_some(model: VelocityASR, seconds: int) -> None:
    hiss = noise(seconds)
    assert len(model.decode_ctc(model(compute_mel_spectrogram(hiss)))) > 50
    assert model.transcribe(hiss) == ""


@pytest.mark.parametrize("snr", [30, 10])
def test_a_voice_is_found_beside_noise(snr: float) -> None:
    from velocity.audio import resample
    from velocity.corpora.hibari import hibari_voices

    (voice,) = hibari_voices(1, seed=3)
    speech, rate = voice.speak("we have never seen a better book than this one", speed=1.0, pitch=1.0, seed=1)
    speech = resample(np.asarray(speech, dtype=np.float32), rate)
    spoken = np.concatenate([np.zeros(5 * SAMPLE_RATE), speech, np.zeros(5 * SAMPLE_RATE)]).astype(np.float32)
    spoken += coloured("pink")[: len(spoken)] * (speech.std() / 0.1) * 10 ** (-snr / 20)
    active = voice_activity(periodicity(spoken))
    steps = len(speech) * 50 // SAMPLE_RATE
    levels = np.square(speech[: steps * 320].reshape(-1, 320)).mean(axis=1)
    assert active[250 : 250 + steps][levels > 0.01 * levels.max()].all()
    assert not active[:150].any()
    assert not active[250 + steps + 100 :].any()


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 80)), max_size=6), st.sampled_from([0.02, 0.04]))
def test_stretches_hold_every_active_frame_and_are_apart(runs, frame):
    active = np.concatenate([np.zeros(0, bool), *(np.repeat([False, True], run) for run in runs)])
    found = list(stretches(active, frame))
    inside = np.zeros(len(active), bool)
    for first, last in found:
        begin, end = round(first * frame / VOICE_STEP), round(last * frame / VOICE_STEP)
        inside[begin:end] = True
        assert active[begin : begin + 2].any()  # nothing but a begun frame before the speech, or after it
        assert active[end - 2 : end].any()
    assert inside[active].all()
    gaps = [(later - before) * frame for (_, before), (later, _) in pairwise(found)]
    assert all(gap > APART - 2 * frame for gap in gaps)


def test_quiet_around_and_between_changes_no_posterior_of_the_speech(model: VelocityASR, folder: Path) -> None:
    """Each stretch is what the network gives for it alone, wherever it lies in the recording."""
    speech, pause = speak("hello", folder), np.zeros(3 * SAMPLE_RATE, np.float32)
    alone = model.transcribe(speech)
    assert alone
    assert model.transcribe(np.concatenate([pause, speech])) == alone
    assert model.transcribe(np.concatenate([pause, speech, pause, speech])) == f"{alone} {alone}"
