"""What decoding gains and costs: a language model, hot words, the times of words, their confidences, speed.

    python benchmarks/decoding.py                                                       # the synthetic default, offline
    python benchmarks/decoding.py --model velocity-asr-v2 --test-set CORPUS --only '[05]-' --text SENTENCES

--test-set is a folder in LibriSpeech layout, a manifest or a name, as for `velocity-asr evaluate`; --only keeps the
utterances whose id matches. --text is what the language model is built from: sentences of the test sets are left out
of it. Hot words are the 20 words of five letters or more in the test sets that --text has least often; --spoken-names
instead has espeak-ng say 20 rare names in commands. Times are of words of the test sets, spoken one by one by
espeak-ng and put together with known silences.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from velocity.audio import SAMPLE_RATE, resample
from velocity.commands.decoder import HOT
from velocity.commands.models import find_artefact
from velocity.corpora.espeak import EspeakVoice, espeak_voices
from velocity.corpora.synthetic import VOICES, load_grammar
from velocity.evaluation.breakdown import is_correct
from velocity.evaluation.testset import load_test_set
from velocity.evaluation.wer import score, summarize
from velocity.recognition.decoding.alignment import align
from velocity.recognition.decoding.decoder import BEAM, Decoder
from velocity.recognition.decoding.words import timed_words
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.offline import VelocityASR
from velocity.text import normalize

NAMES = [
    *("abernathy", "bartholomew", "calloway", "delacroix", "eisenberg", "fitzgerald", "gonzalez", "hawthorne"),
    *("isadora", "jankowski", "kowalski", "lindqvist", "montgomery", "nakamura", "oppenheimer", "pemberton"),
    *("quintero", "rasmussen", "silverman", "thornton"),
]
COMMANDS = ("call {} in the kitchen", "turn on the lamp for {} now")
SEED = 20
QUIET = 0.01  # of a word's loudest 5 ms: less is silence before or after it


@dataclass(frozen=True)
class Recognised:
    """An utterance, as the model hears it."""

    reference: str
    log_probs: np.ndarray  # (frames, V)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--test-set", nargs="+", default=["synthetic-test"])
    parser.add_argument("--only", default="", help="regular expression")
    parser.add_argument("--every", type=int, default=1, help="keep one utterance in so many")
    parser.add_argument("--text", type=Path, default=Path("data/prepared/train.jsonl"))
    parser.add_argument("--spoken-names", action="store_true")
    parser.add_argument("--hot", type=float, default=HOT, help="nats a letter")
    parser.add_argument("--beam", type=int)
    parser.add_argument("--part", nargs="+", default=["ngram", "hotwords", "times"])
    arguments = parser.parse_args()

    model = VelocityASR(find_artefact(arguments.model, quantized=True), lm="none")
    utterances = [u for name in arguments.test_set for u in load_test_set(name)[1] if re.search(arguments.only, u.id)]
    recognised = [Recognised(u.text, model.log_probs(u.samples())) for u in utterances[:: arguments.every]]
    own = {h.reference for h in recognised}
    text = [line for line in read_text(arguments.text) if line not in own]
    seconds = sum(len(h.log_probs) for h in recognised) * model.config["frame_seconds"]
    figures = {"model": model.folder.name, "utterances": len(recognised), "audio_seconds": round(seconds)}
    lm = NGram.of(estimate(text, order=3).tables())
    if "ngram" in arguments.part:
        figures["ngram"] = ngram(model, recognised, lm, arguments.beam)
    if "hotwords" in arguments.part:
        figures["hotwords"] = hot_words(model, recognised, lm, text, arguments)
    if "times" in arguments.part:
        figures["times"] = times(model, sorted({word for reference in own for word in reference.split()}))
    print(json.dumps(figures, indent=2))


def read_text(path: Path) -> list[str]:
    """Lines of plain text, or the transcripts of a manifest of cuts, normalised; each once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".jsonl":
        lines = [json.loads(line)["supervisions"][0]["text"] for line in lines]
    return list(dict.fromkeys(filter(None, map(normalize, lines))))


def decoder(model: VelocityASR, **options) -> Decoder:
    return Decoder(model.tokenizer, model.config["frame_seconds"], **options)


def word_errors(recognised: list[Recognised], hypotheses: list[str]) -> dict[str, float]:
    figures = summarize(score([h.reference for h in recognised], hypotheses))
    return {"wer": figures["wer"], "wer_ci95": figures["wer_ci95"]}


def recognise(decoder: Decoder, recognised: list[Recognised]) -> tuple[list[str], float]:
    """(the texts, the real-time factor of decoding alone)."""
    started = time.process_time()
    found = [decoder.decode(h.log_probs, words=False)[0].text for h in recognised]
    took = time.process_time() - started
    return found, round(took / (sum(len(h.log_probs) for h in recognised) * decoder.frame_seconds), 5)


def ngram(model: VelocityASR, recognised: list[Recognised], lm: NGram, beam: int | None) -> dict:
    figures = {}
    for name, options in {"greedy": {}, "beam": {"beam": beam or BEAM}, "lm": {"lm": lm, "beam": beam}}.items():
        chosen = decoder(model, **options)
        hypotheses, rtf = recognise(chosen, recognised)
        figures[name] = {
            **word_errors(recognised, hypotheses),
            "rtf": rtf,
            "confidence_auc": confidence(chosen, recognised),
        }
    figures["relative"] = round(1 - figures["lm"]["wer"] / figures["greedy"]["wer"], 4)
    return figures


def confidence(chosen: Decoder, recognised: list[Recognised]) -> float:
    """How often a right word has more confidence than a wrong one (area under the ROC curve)."""
    right, wrong = [], []
    for h in recognised:
        words = chosen.decode(h.log_probs)[0].words
        for word, correct in zip(words, is_correct(h.reference, " ".join(w.text for w in words)), strict=True):
            (right if correct else wrong).append(word.confidence)
    if not right or not wrong:
        return float("nan")
    ranks = np.searchsorted(np.sort(wrong), right, side="left") + np.searchsorted(np.sort(wrong), right, side="right")
    return round(float(ranks.mean() / 2 / len(wrong)), 4)


def hot_words(model: VelocityASR, recognised: list[Recognised], lm: NGram, text: list[str], arguments) -> dict:
    """Recall of 20 rare words, and the error rate of the utterances that have none of them."""
    if arguments.spoken_names:
        hot = NAMES
        having, other = spoken_names(model, hot), recognised
    else:
        seen = Counter(word for line in text for word in line.split())
        words = {word for h in recognised for word in h.reference.split() if len(word) >= 5}
        hot = sorted(words, key=lambda word: (seen[word], word))[:20]
        having = [h for h in recognised if set(hot) & set(h.reference.split())]
        other = [h for h in recognised if not set(hot) & set(h.reference.split())]
    phrases = dict.fromkeys(hot, arguments.hot)
    figures: dict = {"words": hot, "nats_a_letter": arguments.hot}
    for name, options in {
        "greedy": {},
        "beam": {"n_best": 2},
        "hot": {"hotwords": phrases},
        "lm": {"lm": lm},
        "lm_hot": {"lm": lm, "hotwords": phrases},
    }.items():
        chosen = decoder(model, beam=arguments.beam, **options)
        found, _ = recognise(chosen, having)
        rest, rtf = recognise(chosen, other)
        figures[name] = {
            "recalled": sum(recalled(h.reference, text, set(hot)) for h, text in zip(having, found, strict=True)),
            "of": sum(recalled(h.reference, h.reference, set(hot)) for h in having),
            "wer_with": word_errors(having, found)["wer"],
            "wer_other": word_errors(other, rest)["wer"],
            "false_alarms": sum(word in phrases for text in rest for word in text.split()),
            "rtf": rtf,
        }
    return figures


def recalled(reference: str, hypothesis: str, hot: set[str]) -> int:
    expected, found = Counter(reference.split()), Counter(hypothesis.split())
    return sum(min(expected[word], found[word]) for word in hot)


def spoken_names(model: VelocityASR, names: list[str]) -> list[Recognised]:
    voices = some_voices(4)
    found = []
    for index, name in enumerate(names):
        for turn, command in enumerate(COMMANDS):
            reference = command.format(name)
            sound = speak(voices[(index + turn) % len(voices)], reference, index)
            found.append(Recognised(reference, model.log_probs(np.pad(sound, SAMPLE_RATE // 10))))
    return found


def some_voices(count: int) -> list[EspeakVoice]:
    grammar = load_grammar(VOICES)
    return espeak_voices(grammar.accents, grammar.speakers, 60, SEED)[:: 60 // count][:count]


def speak(voice: EspeakVoice, text: str, seed: int) -> np.ndarray:
    """(samples,) at 16 kHz, without the silence before and after, at −24 dB."""
    sound = resample(*voice.speak(text, 1.0, 1.0, seed))
    window = SAMPLE_RATE // 200
    loudness = np.sqrt(np.convolve(sound**2, np.full(window, 1 / window), mode="same"))
    loud = np.flatnonzero(loudness > QUIET * loudness.max())
    sound = sound[loud[0] : loud[-1] + 1]
    return (sound * (0.063 / np.sqrt(np.mean(sound**2)))).astype(np.float32)


def times(model: VelocityASR, vocabulary: list[str], clips: int = 80, length: int = 8) -> dict:
    """Where words are found in clips of single words with silences between: of the true and of the recognised text."""
    random = np.random.default_rng(SEED)
    voices = some_voices(10)
    frame = model.config["frame_seconds"]
    vocabulary = [word for word in vocabulary if len(word) > 1]
    errors: dict[str, list[tuple[float, float]]] = {"true_text": [], "recognised": []}
    for clip in range(clips):
        words = [vocabulary[random.integers(len(vocabulary))] for _ in range(length)]
        pieces, edges, position = [], [], 0
        for index, word in enumerate(words):
            silence = int(random.uniform(0.15, 0.5) * SAMPLE_RATE)
            sound = speak(voices[clip % len(voices)], word, index)
            pieces += [np.zeros(silence, np.float32), sound]
            edges.append(((position + silence) / SAMPLE_RATE, (position + silence + len(sound)) / SAMPLE_RATE))
            position += silence + len(sound)
        sound = np.concatenate([*pieces, np.zeros(SAMPLE_RATE // 4, np.float32)])
        sound += random.standard_normal(len(sound), dtype=np.float32) * 0.063 * 10 ** (-40 / 20)
        log_probs = model.log_probs(sound)
        blank, tokens = model.tokenizer.blank, model.tokenizer.encode(" ".join(words))
        chosen = model.decoder
        found = timed_words(log_probs, tokens, align(log_probs, tokens, blank), chosen.pieces, frame)
        errors["true_text"] += [(w.start - s, w.end - e) for w, (s, e) in zip(found, edges, strict=True)]
        for word in chosen.decode(log_probs)[0].words:
            middle = (word.start + word.end) / 2
            place = next((i for i, (s, e) in enumerate(edges) if s <= middle <= e), None)
            if place is not None and words[place] == word.text:
                errors["recognised"].append((word.start - edges[place][0], word.end - edges[place][1]))
    return {name: spread(np.array(found)) for name, found in errors.items() if found}


def spread(errors: np.ndarray) -> dict:
    """(words, 2) errors of starts and ends in seconds → milliseconds."""
    figures: dict = {"words": len(errors)}
    for name, found in {"start": errors[:, 0], "end": errors[:, 1], "both": errors.ravel()}.items():
        figures[name] = {
            "bias_ms": round(1000 * float(np.median(found))),
            "median_ms": round(1000 * float(np.median(np.abs(found)))),
            "p95_ms": round(1000 * float(np.quantile(np.abs(found), 0.95))),
        }
    return figures


if __name__ == "__main__":
    main()
