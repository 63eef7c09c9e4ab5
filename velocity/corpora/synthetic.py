"""Speech made on this machine by a synthesiser: commands and numbers (the embedded default), or a text read aloud.

Synthetic: a recogniser trained and tested on it shows that the pipeline works, not how well it hears people.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from velocity.audio import SAMPLE_RATE, resample
from velocity.corpora.espeak import EspeakVoice, espeak_voices
from velocity.corpora.hibari import HibariVoice, hibari_voices
from velocity.errors import VelocityError
from velocity.files import read_text
from velocity.progress import track
from velocity.text import normalize

if TYPE_CHECKING:
    from velocity.corpora.kinds.synthetic import SyntheticCorpus

SLOT = re.compile(r"\{([^{}]+)\}")
NUMBERS = re.compile(r"(\d+)-(\d+)")
DEEPEST = 8  # rules inside rules
VOICES = Path(__file__).with_name("commands.yaml")  # who reads a text

VARIATION = 0.06  # standard deviation of an utterance's speed and pitch about its voice's
LEVEL_DB = (-32.0, -18.0)  # RMS relative to full scale
HIGHEST_PEAK = 0.9  # lowers the level of voices with sharp peaks
SNR_DB = (25.0, 50.0)
SILENCE = (0.02, 0.15)  # seconds of room noise before and after


@dataclass(frozen=True)
class Grammar:
    """The corpus description of ``commands.yaml``."""

    accents: list[str]
    speakers: dict[str, list[str]]
    sentences: list[str]
    rules: dict[str, list[str]]

    def sentence(self, random: np.random.Generator) -> str:
        """One sentence in words, as ``normalize`` would leave it."""

        def fill(match: re.Match[str]) -> str:
            if numbers := NUMBERS.fullmatch(match[1]):
                low, high = map(int, numbers.groups())
                return _in_words(int(random.integers(low, high, endpoint=True)))
            lines = self.rules[match[1]]
            return lines[random.integers(len(lines))]

        sentence = self.sentences[random.integers(len(self.sentences))]
        for _ in range(DEEPEST):
            if not SLOT.search(sentence):
                return normalize(sentence)
            sentence = SLOT.sub(fill, sentence)
        raise VelocityError(f"rules more than {DEEPEST} deep: {sentence!r}")


def _in_words(number: int) -> str:
    return normalize(f"{number:,}")  # with its comma, 1984 is read as a number and not as a year


def load_grammar(path: str | Path) -> Grammar:
    """Raises VelocityError, naming the file, when it cannot be read, lacks a part or names a rule it does not have."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        grammar = Grammar(**YAML(typ="safe").load(read_text(path)))
    except (YAMLError, TypeError) as error:
        wanted = "accents, speakers, sentences and rules"
        raise VelocityError(f"{path}: must hold {wanted}: {str(error).splitlines()[0]}") from error
    for line in [*grammar.sentences, *(line for lines in grammar.rules.values() for line in lines)]:
        for slot in SLOT.findall(line):
            if slot not in grammar.rules and not NUMBERS.fullmatch(slot):
                raise VelocityError(f"{path}: {line!r}: there is no rule {slot!r}")
    return grammar


def load_text(path: str | Path) -> Grammar:
    """The lines of a text as sentences for the voices of ``commands.yaml``; raises VelocityError, naming the file."""
    lines = read_text(path).splitlines()
    if not (sentences := [words for line in lines if (words := normalize(line))]):
        raise VelocityError(f"{path}: no line with words in it")
    return replace(load_grammar(VOICES), sentences=sentences, rules={})


def run_of_words(sentence: str, fewest: int, most: int, random: np.random.Generator) -> str:
    """``fewest`` to ``most`` consecutive words from anywhere in the sentence; all of a shorter one."""
    words = sentence.split()
    length = min(len(words), int(random.integers(fewest, most, endpoint=True)))
    start = int(random.integers(len(words) - length, endpoint=True))
    return " ".join(words[start : start + length])


def synthesise_corpus(corpus: SyntheticCorpus, seed: int, folder: str | Path) -> None:
    """Write ``corpus.utterances`` FLAC files (16 kHz, 16 bit) and their transcripts in LibriSpeech layout.

    Voices take turns; utterance and speaker ids are ``<speaker>-<nnnn>`` and ``<speaker>``. The same arguments and the
    same synthesiser give the same bytes in a fresh process: espeak-ng keeps state from one utterance to the next.
    """
    import soundfile

    reads_text = not corpus.source.endswith((".yaml", ".yml"))
    grammar = load_text(corpus.source) if reads_text else load_grammar(corpus.source)
    voices: list[EspeakVoice] | list[HibariVoice] = (
        hibari_voices(corpus.voices, seed)
        if corpus.engine == "hibari"
        else espeak_voices(grammar.accents, grammar.speakers, corpus.voices, seed)
    )
    folder = Path(folder)
    transcripts: dict[str, list[str]] = {voice.speaker: [] for voice in voices}
    for speaker in transcripts:
        (folder / speaker).mkdir(parents=True)

    def finish(spoken: np.ndarray, rate: int, random: np.random.Generator, path: Path) -> None:
        soundfile.write(path, _record(resample(spoken, rate), random), SAMPLE_RATE, "PCM_16")

    with ThreadPoolExecutor(2) as pool:
        pending = []
        for index in track(range(corpus.utterances), "synthesise", corpus.utterances):
            random = np.random.default_rng([seed, 2, index])
            voice, sentence = voices[index % len(voices)], grammar.sentence(random)
            if reads_text:
                sentence = run_of_words(sentence, *corpus.words, random)
            name = f"{voice.speaker}-{len(transcripts[voice.speaker]):04d}"
            transcripts[voice.speaker].append(f"{name} {sentence.upper()}\n")
            speed, pitch = random.normal(1.0, VARIATION, 2)
            spoken, rate = voice.speak(sentence, speed, pitch, index)
            pending.append(pool.submit(finish, spoken, rate, random, folder / voice.speaker / f"{name}.flac"))
        for written in pending:
            written.result()
    for speaker, lines in transcripts.items():
        (folder / speaker / f"{speaker}.trans.txt").write_text("".join(lines), encoding="utf-8")


def _record(speech: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(samples,) float32 → the same at a random level, between two short silences, with a little white noise."""
    before, after = (int(random.uniform(*SILENCE) * SAMPLE_RATE) for _ in range(2))
    speech = np.pad(speech, (before, after))
    level = 10 ** (random.uniform(*LEVEL_DB) / 20)
    level = min(level, HIGHEST_PEAK * np.sqrt(np.mean(speech**2)) / np.abs(speech).max())
    speech = speech * (level / np.sqrt(np.mean(speech**2)))
    noise = random.standard_normal(len(speech), dtype=np.float32) * (level * 10 ** (-random.uniform(*SNR_DB) / 20))
    return np.clip(speech + noise, -1.0, 1.0)
