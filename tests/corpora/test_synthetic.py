"""The synthetic corpus: the same bytes in a fresh process, voices and sentences as described, faults named."""

import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import velocity.corpora
from tests.corpora.layouts import gather
from velocity.audio import load_audio
from velocity.corpora.espeak import espeak_voices
from velocity.corpora.kinds.folder import read_folder
from velocity.corpora.kinds.synthetic import SyntheticCorpus
from velocity.corpora.synthetic import load_grammar, run_of_words, synthesise_corpus
from velocity.errors import VelocityError
from velocity.text import normalize

GRAMMAR = str(Path(velocity.corpora.__path__[0], "commands.yaml"))
SYNTHESISE = f"""
import sys
from velocity.corpora.kinds.synthetic import SyntheticCorpus
from velocity.corpora.synthetic import synthesise_corpus
corpus = SyntheticCorpus(kind="synthetic", source="{GRAMMAR}", utterances=int(sys.argv[2]), voices=int(sys.argv[3]))
synthesise_corpus(corpus, int(sys.argv[4]), sys.argv[1])
"""


def synthesise_in_a_process(folder, utterances, voices, seed):
    command = [sys.executable, "-c", SYNTHESISE, folder, utterances, voices, seed]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(name): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_same_seed_same_bytes_in_another_process(tmp_path):
    voices = 45  # among them such as espeak-ng gives random breath
    first = synthesise_in_a_process(tmp_path / "first", 45, voices, 5)
    assert first == synthesise_in_a_process(tmp_path / "second", 45, voices, 5)
    assert len(first) > 45
    other = synthesise_in_a_process(tmp_path / "other", 45, voices, 6)
    assert not {name: digest for name, digest in first.items() if other.get(name) == digest}


def test_the_corpus_is_a_readable_folder_of_clean_16_bit_speech(tmp_path):
    corpus = SyntheticCorpus(kind="synthetic", source=GRAMMAR, utterances=24, voices=12)
    synthesise_corpus(corpus, 1, tmp_path)
    recordings, supervisions, _ = gather(read_folder("synthetic", tmp_path, synthetic=True))
    assert len(recordings) == len(supervisions) == 24
    assert all(segment.custom["synthetic"] for segment in supervisions)
    for recording in recordings:
        path = recording.sources[0].source
        assert soundfile.info(path).subtype == "PCM_16"
        samples, rate = soundfile.read(path)
        assert rate == 16_000
        assert 0.3 < recording.duration < 12
        assert np.abs(samples).max() < 0.999
        assert -40 < 10 * np.log10(np.mean(samples**2)) < -15


def test_voices_differ_and_come_from_many_speakers():
    grammar = load_grammar(GRAMMAR)
    voices_of = partial(espeak_voices, grammar.accents, grammar.speakers)
    voices = voices_of(80, seed=1)
    assert len({voice.name for voice in voices}) == 80
    assert len({voice.speaker for voice in voices}) >= 40
    variants = {}
    for voice in voices_of(200, seed=1):
        variants.setdefault(voice.name.split("+")[1], set()).add(voice.speaker)
    assert all(len(speakers) == 1 for speakers in variants.values())  # so that a split by speaker is one by variant
    assert voices_of(20, seed=1) == voices[:20]
    with pytest.raises(VelocityError, match="voices: 100000"):
        voices_of(100_000, seed=1)


def test_sentences_are_normalised_words_and_vary():
    grammar = load_grammar(GRAMMAR)
    sentences = [grammar.sentence(np.random.default_rng([3, index])) for index in range(1000)]
    assert all(sentence == normalize(sentence) and sentence for sentence in sentences)
    assert not any("{" in sentence for sentence in sentences)
    assert len(set(sentences)) > 800


def test_a_text_is_read_aloud_in_runs_of_its_words(tmp_path):
    text = tmp_path / "book.txt"
    text.write_text("It was the best of times;\n\nit was the WORST of times, in 1775.\n")
    corpus = SyntheticCorpus(kind="synthetic", source=str(text), utterances=12, voices=4, words=(2, 4))
    synthesise_corpus(corpus, 1, tmp_path / "out")
    _, supervisions, _ = gather(read_folder("reading", tmp_path / "out", synthetic=True))
    lines = ["it was the best of times", "it was the worst of times in seventeen seventy five"]
    said = [segment.text.lower() for segment in supervisions]
    assert all(2 <= len(sentence.split()) <= 4 for sentence in said)
    assert all(any(sentence in line for line in lines) for sentence in said)
    assert len(set(said)) > 6


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=9), st.integers(1, 5), st.integers(0, 5), st.integers(0, 99)
)
def test_a_run_of_words_is_consecutive_and_of_the_length_asked_for(words, fewest, more, seed):
    run = run_of_words(" ".join(words), fewest, fewest + more, np.random.default_rng(seed)).split()
    assert min(fewest, len(words)) <= len(run) <= fewest + more
    assert any(words[start : start + len(run)] == run for start in range(len(words)))


def test_rules_without_end_and_unknown_voices_are_errors(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("{accents: [en], speakers: {a: [nobody]}, sentences: ['{s}'], rules: {s: ['a {s}']}}")
    with pytest.raises(VelocityError, match="deep"):
        load_grammar(path).sentence(np.random.default_rng(0))
    path.write_text("{accents: [xx], speakers: {a: [nobody]}, sentences: [hello], rules: {}}")
    corpus = SyntheticCorpus(kind="synthetic", source=str(path), utterances=1, voices=1)
    with pytest.raises(VelocityError, match=r"no voice 'xx\+nobody'"):
        synthesise_corpus(corpus, 1, tmp_path / "out")


def test_one_natural_voice_becomes_many_of_different_pitch_and_the_same_bytes_each_time(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("The night was dark and the road was long.\n")
    corpus = SyntheticCorpus(kind="synthetic", source=str(text), engine="hibari", utterances=3, voices=3, words=(9, 9))
    for name in ("one", "two"):
        synthesise_corpus(corpus, 1, tmp_path / name)
    files = [sorted((tmp_path / name).rglob("*.flac")) for name in ("one", "two")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    low, middle, high = (fundamental(load_audio(path)) for path in files[0])
    assert 1.15 * low < middle < high / 1.15
    (words,) = {path.read_text().split(maxsplit=1)[1] for path in (tmp_path / "one").rglob("*.trans.txt")}
    assert words == "THE NIGHT WAS DARK AND THE ROAD WAS LONG\n"


def fundamental(samples):
    """Median pitch in Hz of the loudest stretches, by the peak of their autocorrelation."""
    frames = samples[: len(samples) // 640 * 640].reshape(-1, 640)
    loud = frames[np.argsort(-(frames**2).sum(1))[: len(frames) // 3]]
    spectrum = np.abs(np.fft.rfft(loud, 2048)) ** 2
    correlation = np.fft.irfft(spectrum)[:, 40:200]  # 400 to 80 Hz
    return float(np.median(16_000 / (40 + correlation.argmax(1))))
