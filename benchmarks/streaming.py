"""Live recognition with a causal model: how late a word is certain, what it costs in words, in time and in memory.

    python benchmarks/streaming.py models/export --test-set synthetic-test

The folder holds ``onnx-streaming-int8/`` and, to compare with, ``onnx-int8/`` of the same weights (without --quantized:
``onnx-streaming/`` and ``onnx/``). Words of known position are spoken one by one by espeak-ng and put in a row.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from difflib import SequenceMatcher

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import psutil

from velocity.audio import SAMPLE_RATE, resample
from velocity.recognition.streaming import Event, StreamingASR

GRAMMAR = "velocity/corpora/commands.yaml"
SILENCE_DB = -35.0  # below the loudest 10 ms of a word is silence
GAP = 0.06  # seconds between words
LEVEL_DB, SNR_DB = -25.0, 35.0
ROOM_DB = -55.0  # of what is heard between utterances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", help="folder of artefacts")
    parser.add_argument("--quantized", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--test-set", help="as of `velocity-asr evaluate`; none: only latency, speed and memory")
    parser.add_argument("--chunk-ms", type=int, default=320)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0, help="of sound whose memory is followed")
    options = parser.parse_args()

    model = StreamingASR.from_pretrained(options.models, options.quantized)
    samples = options.chunk_ms * SAMPLE_RATE // 1000
    print(f"{model.folder}, chunks of {options.chunk_ms} ms")
    if options.test_set:
        word_errors(model, options.models, options.quantized, options.test_set, samples)
    latency(model, samples, options.sentences)
    endurance(model, samples, options.minutes)


def cut(audio: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    for start in range(0, len(audio), samples):
        yield audio[start : start + samples]


def word_errors(model: StreamingASR, folder: str, quantized: bool, test_set: str, samples: int) -> None:
    """The test set, an utterance a stream, and all of it as one live stream, beside the same weights offline."""
    from velocity.evaluation.testset import load_test_set
    from velocity.evaluation.wer import score, summarize
    from velocity.recognition.offline import VelocityASR

    name, utterances = load_test_set(test_set)
    offline_model = VelocityASR.from_pretrained(folder, quantized)
    offline, live = [], []
    for utterance in utterances:
        audio = utterance.samples()
        offline.append(offline_model.transcribe(audio))
        events = model.transcribe_stream(cut(audio, samples))
        live.append(" ".join(event.stable for event in events if event.type == "final"))
    references = [utterance.text for utterance in utterances]
    rates = [100 * summarize(score(references, found))["wer"] for found in (offline, live)]
    different = sum(first != second for first, second in zip(offline, live, strict=True))
    print(
        f"{name}, {len(utterances)} utterances: WER offline {rates[0]:.2f} %, live {rates[1]:.2f} %, "
        f"{different} transcripts differ"
    )
    pause = 10 ** (ROOM_DB / 20) * np.random.default_rng(0).standard_normal(round(1.2 * SAMPLE_RATE), dtype=np.float32)
    day = np.concatenate([part for utterance in utterances for part in (utterance.samples(), pause)])
    finals = [event for event in model.transcribe_stream(cut(day, samples)) if event.type == "final"]
    rate = 100 * summarize(score([" ".join(references)], [" ".join(event.stable for event in finals)]))["wer"]
    print(f"the same in one stream of {len(day) / SAMPLE_RATE / 60:.1f} min: WER {rate:.2f} %, {len(finals)} endpoints")


def latency(model: StreamingASR, samples: int, sentences: int) -> None:
    """From the end of a word to the event in which it is stable: sound that had to come, and time to compute."""
    found: dict[str, list[float]] = {"first word": [], "every word": []}
    work, words, random = 0.0, 0, np.random.default_rng(0)
    for sentence in range(sentences):
        audio, spoken = row_of_words(sentence, random)
        known: list[float] = []  # when each stable word came
        events: list[Event] = []
        stream = model.stream()
        for piece in cut(audio, samples):
            started = time.perf_counter()
            new = stream.accept(piece)
            took = time.perf_counter() - started
            work += took
            for event in new:
                known += [stream.seconds + took] * (len(event.words) - len(known))
                events.append(event)
        events += stream.finish()
        texts = [word.text for event in events if event.type == "final" for word in event.words]
        references, ends = zip(*spoken, strict=True)
        words += len(references)
        for block in SequenceMatcher(a=references, b=texts, autojunk=False).get_matching_blocks():
            for a, b in zip(range(block.a, block.a + block.size), range(block.b, block.b + block.size), strict=True):
                if b < len(known):
                    late = known[b] - ends[a]
                    found["every word"].append(late)
                    if a == b == 0:
                        found["first word"].append(late)
    for name, late in found.items():
        if not late:
            print(f"{name}: none was recognised")
            continue
        median, most = 1000 * np.percentile(late, [50, 95])
        within = 100 * np.mean(np.array(late) <= 0.7)
        print(
            f"{name}: stable {median:.0f} ms after it was spoken (median), {most:.0f} ms (95 %), within 700 ms "
            f"{within:.1f} %; {len(late)} recognised of {sentences if name == 'first word' else words}"
        )


def row_of_words(index: int, random: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """A sentence, each word spoken alone: (samples,), and its words with the seconds at which they end."""
    from velocity.corpora.espeak import espeak_voices
    from velocity.corpora.synthetic import load_grammar

    grammar = load_grammar(GRAMMAR)
    voices = espeak_voices(grammar.accents, grammar.speakers, 80, seed=7)  # other pitches and speeds than the corpus's
    voice = voices[index % len(voices)]
    parts = [np.zeros(round(random.uniform(0.3, 0.8) * SAMPLE_RATE), dtype=np.float32)]
    spoken = []
    for word in grammar.sentence(random).split():
        samples, rate = voice.speak(word, 1.0, 1.0, index)
        parts.append(trim(resample(samples, rate)))
        spoken.append((word, sum(map(len, parts)) / SAMPLE_RATE))
        parts.append(np.zeros(round(GAP * SAMPLE_RATE), dtype=np.float32))
    audio = np.concatenate([*parts, np.zeros(2 * SAMPLE_RATE, dtype=np.float32)])
    level = 10 ** (LEVEL_DB / 20)
    audio *= level / np.sqrt(np.mean(audio[audio != 0] ** 2))
    return audio + random.standard_normal(len(audio), dtype=np.float32) * level * 10 ** (-SNR_DB / 20), spoken


def trim(samples: np.ndarray) -> np.ndarray:
    """Without the silence at both ends, to 10 ms."""
    step = SAMPLE_RATE // 100
    energy = np.array([np.mean(part**2) for part in np.array_split(samples, max(1, len(samples) // step))])
    loud = np.flatnonzero(energy > energy.max() * 10 ** (SILENCE_DB / 10))
    return samples[loud[0] * step : (loud[-1] + 1) * step]


def endurance(model: StreamingASR, samples: int, minutes: float) -> None:
    """Sentences in a loop, as fast as they are recognised: time a chunk, and the memory of the process on the way."""
    rows = [row_of_words(index, np.random.default_rng(index))[0] for index in range(40)]
    stream, took, memory, index = model.stream(), [], {}, 0
    while stream.seconds < 60 * minutes:
        for piece in cut(rows[index % len(rows)], samples):
            started = time.perf_counter()
            stream.accept(piece)
            took.append(time.perf_counter() - started)
        index += 1
        memory.setdefault(int(stream.seconds / 60), psutil.Process().memory_info().rss)
    chunk = samples / SAMPLE_RATE
    middle, slow = np.percentile(took, [50, 99])
    print(
        f"{stream.seconds / 60:.0f} min: a chunk takes {1000 * middle:.2f} ms (median), {1000 * slow:.2f} ms (99 %), "
        f"real-time factor {sum(took) / len(took) / chunk:.4f} on one thread"
    )
    marks = sorted({minute for minute in memory if minute in (1, 10, 30) or minute == max(memory)})
    print("resident memory: " + ", ".join(f"{memory[minute] / 1e6:.1f} MB after {minute} min" for minute in marks))


if __name__ == "__main__":
    main()
